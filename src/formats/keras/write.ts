import type { WrittenModel } from '../formats.ts'
import { layersOf } from '../known-family.ts'
import type { Files } from '../source.ts'
import { writeZip } from '../zip.ts'
import { kerasNetwork } from './families.ts'
import { snakeCase } from './files.ts'
import { type Hdf5Group, writeHdf5 } from './hdf5-write.ts'
import { classicConfig, type KerasLayer, type KerasNetwork, modernConfig } from './network.ts'

/** The version of Keras whose format is written. */
const KERAS_VERSION = '3.0.0'

const networkOf = ({ model, manifest }: WrittenModel): KerasNetwork =>
  kerasNetwork(manifest.family, layersOf(model, manifest, 'Keras layers'), 'keras')

const utf8 = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

/** A `.keras` archive of real layers. Throws UNSUPPORTED. */
export async function writeKerasArchive(model: WrittenModel): Promise<Files> {
  const network = networkOf(model)
  const root: Hdf5Group = {}
  const counts = new Map<string, number>()
  for (const layer of network.layers) {
    const own = snakeCase(layer.className)
    const at = counts.get(own) ?? 0
    counts.set(own, at + 1)
    if (layer.weights.length === 0) continue
    const base = ['layers', at > 0 ? `${own}_${at}` : own]
    const places = new Map<string, number>()
    for (const { part, tensor } of layer.weights) {
      const place = places.get(part) ?? 0
      places.set(part, place + 1)
      const group = groupAt(root, [...base, ...part.split('/').filter(Boolean), 'vars'])
      group.arrays = { ...group.arrays, [String(place)]: tensor }
    }
  }
  const archive = writeZip({
    'metadata.json': utf8({ keras_version: KERAS_VERSION, date_saved: '1980-01-01@00:00:00' }),
    'config.json': utf8(modernConfig(network)),
    'model.weights.h5': await writeHdf5(root),
  })
  return { 'model.keras': archive }
}

/** A `.h5` file of real layers, in the form that Keras 2 and 3 read (with attention: Keras 3). Throws UNSUPPORTED. */
export async function writeKerasH5(model: WrittenModel): Promise<Files> {
  const network = networkOf(model)
  const about = { backend: 'tensorflow', keras_version: KERAS_VERSION }
  const weights: Hdf5Group = {
    attributes: { ...about, layer_names: network.layers.map(({ name }) => name) },
    groups: Object.fromEntries(network.layers.map((layer) => [layer.name, layerGroup(layer)])),
  }
  const root: Hdf5Group = {
    attributes: {
      ...about,
      model_config: JSON.stringify(network.attends ? modernConfig(network) : classicConfig(network)),
    },
    groups: { model_weights: weights },
  }
  return { 'model.h5': await writeHdf5(root) }
}

function layerGroup({ name, weights }: KerasLayer): Hdf5Group {
  const group: Hdf5Group = { attributes: { weight_names: weights.map((weight) => classicName(name, weight)) } }
  for (const weight of weights) {
    const path = classicName(name, weight).split('/')
    const at = groupAt(group, path.slice(0, -1))
    at.arrays = { ...at.arrays, [path.at(-1)!]: weight.tensor }
  }
  return group
}

/** `lstm_0/kernel:0`, `bidirectional_0/forward_layer/kernel:0`. */
const classicName = (layer: string, { name, part }: { name: string; part: string }) =>
  [
    layer,
    ...part.split('/').filter((piece) => piece !== '' && piece !== 'cell' && !piece.endsWith('_dense')),
    `${name}:0`,
  ].join('/')

function groupAt(root: Hdf5Group, path: readonly string[]): Hdf5Group {
  let group = root
  for (const name of path) {
    group.groups ??= {}
    group.groups[name] ??= {}
    group = group.groups[name]
  }
  return group
}
