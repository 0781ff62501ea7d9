import { fail } from '../../base/errors.ts'
import { invalid } from '../source.ts'

export type Json = Record<string, unknown>

/** Where a value of a Keras graph comes from: the `tensor`-th output of the `call`-th call of a layer. */
export interface Reference {
  readonly layer: string
  readonly call: number
  readonly tensor: number
}
/** An argument of a call: a value, a list of arguments, or a constant. */
export type Argument = Reference | readonly Argument[] | { readonly constant: unknown }

/** One use of a layer: its positional and named arguments. */
interface Call {
  readonly args: readonly Argument[]
  readonly kwargs: Readonly<Record<string, Argument>>
}

export interface Layer {
  readonly className: string
  readonly name: string
  readonly config: Json
  readonly calls: readonly Call[]
  /** The graph inside, where the layer is itself a model. */
  readonly model?: Model
}

/** A Sequential or functional model; both storage formats of the configuration become this. */
export interface Model {
  readonly name: string
  readonly layers: readonly Layer[]
  readonly inputs: readonly Reference[]
  readonly outputs: readonly Reference[]
}

const LAYER_LIMIT = 10_000
const NESTING_LIMIT = 8

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
export const isReference = (value: Argument): value is Reference => isObject(value) && 'layer' in value
export const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value)

/** An object's class as Keras writes it; throws UNSUPPORTED for code that is not Keras' own. */
function classOf(value: unknown, what: string): { className: string; config: Json } {
  if (!isObject(value) || typeof value.class_name !== 'string') throw invalid('Keras', `${what} has no class`)
  const className = value.class_name.replace(/^.*>/, '').slice(0, 80)
  const module = value.module ?? 'keras.layers'
  const own = typeof module === 'string' && /^(keras|tensorflow\.python\.keras|tf_keras)(\.|$)/.test(module)
  if (!own || ((value.registered_name ?? null) !== null && String(value.registered_name).includes('>'))) {
    throw fail('UNSUPPORTED', {
      what: `the custom object ${className} (${what})`,
      instead: 'Only Keras’ own layers are read, and no code is run: save a model made of them, or export it to ONNX.',
    })
  }
  return { className, config: isObject(value.config) ? value.config : {} }
}

/** Reads a model's configuration (`model_config` of .h5 and TensorFlow.js, config.json of .keras). */
export function readModelConfig(value: unknown, depth = 0): Model {
  if (depth > NESTING_LIMIT) throw invalid('Keras', `models nested deeper than ${NESTING_LIMIT}`)
  const { className, config } = classOf(value, 'the model')
  // the oldest Sequential files hold the list of layers itself
  const raw = (value as Json).config
  const list = isList(raw) ? raw : config.layers
  if (!isList(list) || list.length === 0) {
    throw fail('UNSUPPORTED', {
      what: `a Keras model of the class ${className}`,
      instead: 'Sequential and functional models are read; build the model as one of those.',
    })
  }
  if (list.length > LAYER_LIMIT) throw invalid('Keras', `more than ${LAYER_LIMIT} layers`)
  const name = typeof config.name === 'string' ? config.name : className
  if (className === 'Sequential') return sequential(name, list, depth)
  if (className !== 'Functional' && className !== 'Model') {
    throw fail('UNSUPPORTED', {
      what: `a Keras model of the class ${className}`,
      instead: 'Sequential and functional models are read; build the model as one of those.',
    })
  }
  const layers = list.map((layer) => readLayer(layer, depth))
  return { name, layers, inputs: references(config.input_layers), outputs: references(config.output_layers) }
}

function readLayer(value: unknown, depth: number): Layer {
  const { className, config } = classOf(value, 'a layer')
  const raw = value as Json
  const name = typeof config.name === 'string' ? config.name : typeof raw.name === 'string' ? raw.name : className
  const nodes = isList(raw.inbound_nodes) ? raw.inbound_nodes : []
  const model = ['Sequential', 'Functional', 'Model'].includes(className)
    ? readModelConfig(value, depth + 1)
    : undefined
  const calls = nodes.map((node) => readCall(node, name))
  return { className, name, config, calls: calls.filter((call) => call !== undefined), ...(model && { model }) }
}

/** A chain: each layer takes what the one before gave. An input is made up where none is described. */
function sequential(name: string, list: readonly unknown[], depth: number): Model {
  const layers: Layer[] = []
  for (const value of list) {
    const layer = readLayer(value, depth)
    if (layers.length === 0 && layer.className !== 'InputLayer') {
      const shape = layer.config.batch_input_shape ?? layer.config.batch_shape ?? sequenceShape(layer)
      const dtype = layer.className === 'Embedding' ? 'int32' : 'float32'
      layers.push({
        className: 'InputLayer',
        name: `${layer.name}_input`,
        config: { batch_shape: shape, dtype },
        calls: [],
      })
    }
    const before = layers.at(-1)
    layers.push({ ...layer, calls: before ? [{ args: [{ layer: before.name, call: 0, tensor: 0 }], kwargs: {} }] : [] })
  }
  const at = (layer: Layer) => [{ layer: layer.name, call: 0, tensor: 0 }]
  return { name, layers, inputs: at(layers[0]), outputs: at(layers.at(-1)!) }
}

/** Keras 3 leaves the input of a Sequential model out when it was built by a call; an Embedding takes (batch, time). */
function sequenceShape(layer: Layer): unknown {
  if (layer.className === 'Embedding') return [null, layer.config.input_length ?? null]
  throw invalid('Keras', `the shape of the input of "${layer.name.slice(0, 80)}" is not stored`)
}

const isTriple = (value: unknown): value is [string, number, number] =>
  isList(value) && typeof value[0] === 'string' && Number.isInteger(value[1]) && Number.isInteger(value[2])

/** `["layer", 0, 0]`, or a list or dictionary of them. */
function references(value: unknown): Reference[] {
  if (isTriple(value)) return [{ layer: value[0], call: value[1], tensor: value[2] }]
  if (isList(value)) return value.flatMap(references)
  if (isObject(value)) return Object.values(value).flatMap(references)
  throw invalid('Keras', 'the inputs or outputs of the model are not described')
}

/** A call in Keras 3's form `{args, kwargs}` or in Keras 2's `[["layer", 0, 0, {kwargs}], …]`. */
function readCall(node: unknown, layer: string): Call | undefined {
  if (isList(node)) {
    if (node.length === 0) return undefined
    const entries = isTriple(node) ? [node] : node
    const args = entries.map((entry) => {
      if (!isTriple(entry)) throw invalid('Keras', `a call of "${layer.slice(0, 80)}" is not described`)
      return { layer: entry[0], call: entry[1], tensor: entry[2] }
    })
    const last = (entries[0] as unknown[])[3]
    const kwargs = isObject(last) ? mapValues(last, (value) => legacyArgument(value)) : {}
    return { args: args.length === 1 ? args : [args], kwargs }
  }
  if (!isObject(node)) throw invalid('Keras', `a call of "${layer.slice(0, 80)}" is not described`)
  const args = isList(node.args) ? node.args.map((value) => argument(value, 0)) : []
  const kwargs = isObject(node.kwargs) ? mapValues(node.kwargs, (value) => argument(value, 0)) : {}
  return args.length === 0 && Object.keys(kwargs).length === 0 ? undefined : { args, kwargs }
}

const mapValues = <T>(object: Json, map: (value: unknown) => T): Record<string, T> =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value)]))

const legacyArgument = (value: unknown): Argument =>
  isTriple(value) ? { layer: value[0], call: value[1], tensor: value[2] } : { constant: value }

function argument(value: unknown, depth: number): Argument {
  if (isList(value)) {
    if (depth > 4) throw invalid('Keras', 'arguments nested too deeply')
    const list = value.map((item) => argument(item, depth + 1))
    return list.some((item) => isReference(item) || isList(item)) ? list : { constant: value }
  }
  if (isObject(value) && value.class_name === '__keras_tensor__' && isObject(value.config)) {
    const history = value.config.keras_history
    if (isTriple(history)) return { layer: history[0], call: history[1], tensor: history[2] }
    throw invalid('Keras', 'a value without its origin')
  }
  return { constant: value }
}
