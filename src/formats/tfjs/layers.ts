import { fail } from '../../base/errors.ts'
import { fromNumbers, type Tensor } from '../../graph/tensor.ts'
import type { ReadModel, WrittenModel } from '../formats.ts'
import { isObject, readModelConfig } from '../keras/config.ts'
import { kerasNetwork } from '../keras/families.ts'
import { flatWeights } from '../keras/files.ts'
import { classicConfig, type KerasLayer, type KerasWeight } from '../keras/network.ts'
import { kerasGraph } from '../keras/read.ts'
import { layersOf } from '../known-family.ts'
import { type Files, invalid, parseJson, type Source } from '../source.ts'
import { modelJson } from './document.ts'
import { readWeights, writeWeights } from './weights.ts'

const KERAS_VERSION = '2.15.0'
const FORMAT = 'TensorFlow.js'

/** A TensorFlow.js layers model: model.json and its weights. Throws UNSUPPORTED or FORMAT_INVALID. */
export async function readTfjsLayers(source: Source): Promise<ReadModel> {
  const name = modelJson(source)
  const document = name && parseJson(FORMAT, source.read(name))
  if (!name || !isObject(document) || !isObject(document.modelTopology))
    throw invalid(FORMAT, 'model.json has no model')
  const topology = document.modelTopology
  const config = isObject(topology.model_config) ? topology.model_config : topology
  const folder = name.slice(0, name.lastIndexOf('/') + 1)
  const byLayer = new Map<string, Tensor[]>()
  for (const [path, tensor] of readWeights(document.weightsManifest, source, folder)) {
    const layer = path.split('/')[0]
    byLayer.set(layer, [
      ...(byLayer.get(layer) ?? []),
      tensor.dtype === 'float32'
        ? tensor
        : fromNumbers('float32', tensor.dims, [...(tensor.data as Float32Array)].map(Number)),
    ])
  }
  const weights = flatWeights((layer) => {
    const found = byLayer.get(layer)
    if (!found) throw invalid(FORMAT, `no weights for the layer "${layer.slice(0, 80)}"`)
    return [...found]
  })
  return kerasGraph(readModelConfig(config), weights, 2)
}

/** A text classifier as a TensorFlow.js layers model. Throws UNSUPPORTED, for attention too: TensorFlow.js has no such layer. */
export async function writeTfjsLayers(model: WrittenModel): Promise<Files> {
  const known = layersOf(model.model, model.manifest, 'TensorFlow.js layers')
  if (known.family === 'transformer' || known.family === 'gru') {
    throw fail('UNSUPPORTED', {
      what:
        known.family === 'gru'
          ? 'a GRU that resets after its product as a TensorFlow.js layer'
          : 'attention as a TensorFlow.js layer',
      instead: 'TensorFlow.js has no such layer. Export it as tfjs-graph or onnx, which browsers run as well.',
    })
  }
  const network = kerasNetwork(model.manifest.family, known, 'tfjs')
  const weights = network.layers.flatMap((layer) =>
    layer.weights.map((weight) => ({ name: pathOf(layer, weight), tensor: weight.tensor })),
  )
  const { manifest, files } = writeWeights(weights)
  const document = {
    format: 'layers-model',
    generatedBy: 'athanor',
    convertedBy: null,
    modelTopology: { keras_version: KERAS_VERSION, backend: 'tensorflow', model_config: classicConfig(network) },
    weightsManifest: manifest,
  }
  return { 'model.json': new TextEncoder().encode(JSON.stringify(document)), ...files }
}

/** `layer/kernel`; for both directions `layer/forward_cell/kernel`. */
function pathOf(layer: KerasLayer, { name, part }: KerasWeight): string {
  const direction = part.startsWith('forward') ? 'forward' : part.startsWith('backward') ? 'backward' : undefined
  const inner = direction && `${direction}_${(layer.config.layer as { config: { name: string } }).config.name}`
  return [layer.name, ...(inner ? [inner] : []), name].join('/')
}
