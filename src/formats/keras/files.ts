import type { Tensor } from '../../graph/tensor.ts'
import type { ReadModel } from '../formats.ts'
import { invalid, parseJson } from '../source.ts'
import { readZip } from '../zip.ts'
import { isObject, type Layer, type Model, readModelConfig } from './config.ts'
import { type Hdf5, readHdf5 } from './hdf5.ts'
import { kerasGraph, type Weights } from './read.ts'

/** A `.h5` file: configuration and weights in one HDF5 file, as Keras 1 to 3 write it. */
export async function readKerasH5(bytes: Uint8Array): Promise<ReadModel> {
  const file = await readHdf5(bytes)
  const config = file.attribute('', 'model_config')
  if (typeof config !== 'string') throw invalid('Keras', 'it holds weights without the model they belong to')
  const root = file.has('model_weights') ? 'model_weights' : ''
  const weights = flatWeights((name) =>
    names(file, `${root}/${name}`, 'weight_names').map((weight) => file.tensor(`${root}/${name}/${weight}`)),
  )
  const version = majorVersion(file.attribute('', 'keras_version') ?? file.attribute(root, 'keras_version'))
  return kerasGraph(readModelConfig(parseJson('Keras', config)), weights, version)
}

/** A `.keras` archive: config.json, metadata.json and model.weights.h5 in a zip, as Keras 3 writes it. */
export async function readKerasArchive(bytes: Uint8Array): Promise<ReadModel> {
  const wanted = ['config.json', 'metadata.json', 'model.weights.h5']
  const files = readZip(bytes, 'Keras', (name) => wanted.includes(name))
  const [config, metadata, weights] = wanted.map((name) => files[name])
  if (!config || !weights) throw invalid('Keras', 'config.json or model.weights.h5 is missing from the archive')
  const about = metadata ? parseJson('Keras', metadata) : {}
  const version = majorVersion(isObject(about) && typeof about.keras_version === 'string' ? about.keras_version : '3')
  const model = readModelConfig(parseJson('Keras', config))
  return kerasGraph(model, nestedWeights(await readHdf5(weights), ''), version)
}

const majorVersion = (text: string | string[] | undefined): number => {
  const major = Number.parseInt(String(text ?? '2'), 10)
  return Number.isNaN(major) ? 2 : major
}

/** A list of names, which Keras splits where it grows too long for one attribute. */
function names(file: Hdf5, group: string, attribute: string): string[] {
  if (!file.has(group)) throw invalid('Keras', `no weights for the layer "${group.slice(0, 120)}"`)
  const whole = file.attribute(group, attribute)
  if (whole !== undefined) return [whole].flat()
  const parts: string[] = []
  for (let i = 0; ; i++) {
    const part = file.attribute(group, `${attribute}${i}`)
    if (part === undefined) return parts
    parts.push(...[part].flat())
  }
}

/**
 * Weights stored as one list for each layer of the outermost model, trainable ones first; parts and layers inside take
 * theirs in order.
 */
export function flatWeights(listOf: (layer: string) => Tensor[]): Weights {
  const left = new Map<string, Tensor[]>()
  const of = (rootOf: (layer: Layer) => string): Weights => ({
    take(layer, _model, _part, count) {
      const root = rootOf(layer)
      const list = left.get(root) ?? listOf(root)
      left.set(root, list)
      if (list.length < count) throw invalid('Keras', `layer "${layer.name.slice(0, 80)}" lacks weights`)
      return list.splice(0, count)
    },
    inside: (layer) => {
      const inner = layer.model?.layers ?? []
      if (inner.some(({ className, config }) => className === 'BatchNormalization' || config.trainable === false))
        throw invalid(
          'Keras',
          `the order of the weights inside "${layer.name.slice(0, 80)}" is not known; save it as .keras`,
        )
      const root = rootOf(layer)
      return of(() => root)
    },
  })
  return of(({ name }) => name)
}

/** Weights of a .keras file: groups named by the layers' classes, numbered where a class comes again. */
function nestedWeights(file: Hdf5, base: string): Weights {
  const groupOf = (layer: Layer, model: Model): string => {
    const own = snakeCase(layer.className)
    const alike = model.layers.filter(({ className }) => snakeCase(className) === own)
    const at = alike.indexOf(layer)
    const name = at > 0 ? `${own}_${at}` : own
    for (const container of ['layers', '_layer_checkpoint_dependencies']) {
      for (const candidate of [name, layer.name]) {
        const path = `${base}${container}/${candidate}`
        if (file.has(path)) return path
      }
    }
    throw invalid('Keras', `no weights for the layer "${layer.name.slice(0, 80)}"`)
  }
  return {
    take(layer, model, part, count) {
      const path = `${groupOf(layer, model)}/${part === '' ? '' : `${part}/`}vars`
      return Array.from({ length: count }, (_, i) => file.tensor(`${path}/${i}`))
    },
    inside: (layer, model) => nestedWeights(file, `${groupOf(layer, model)}/`),
  }
}

/** As Keras makes the name of a class that of a group. */
export const snakeCase = (name: string) =>
  name
    .replace(/\W+/g, '')
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
