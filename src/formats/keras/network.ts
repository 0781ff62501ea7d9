import type { Tensor } from '../../graph/tensor.ts'
import type { Json } from './config.ts'

/** A value of a Keras network under construction; `null` is any size. */
export interface KerasValue {
  readonly layer: string
  readonly shape: readonly (number | null)[]
}

/** A weight: its name in .h5 files, the part of the layer and the place there in .keras files. */
export interface KerasWeight {
  readonly name: string
  readonly part: string
  readonly tensor: Tensor
}

export interface KerasLayer {
  readonly className: string
  readonly name: string
  readonly config: Json
  /** Inputs, a list where the layer merges several. */
  readonly inputs: readonly KerasValue[]
  readonly merges: boolean
  readonly weights: readonly KerasWeight[]
}

/** A Keras model as a value: layers in order, one input of ids, one output. Both files and TensorFlow.js are written from it. */
export class KerasNetwork {
  readonly name: string
  /** TensorFlow.js lacks some layers; others say the same there. */
  readonly dialect: 'keras' | 'tfjs'
  layers: KerasLayer[] = []

  constructor(name: string, dialect: 'keras' | 'tfjs') {
    this.name = name
    this.dialect = dialect
  }

  /** Rows of ids, 0 for padding: int32 (batch, time). */
  ids(): KerasValue {
    this.layers.push({
      className: 'InputLayer',
      name: 'ids',
      config: { batch_shape: [null, null], dtype: 'int32' },
      inputs: [],
      merges: false,
      weights: [],
    })
    return { layer: 'ids', shape: [null, null] }
  }

  add(
    className: string,
    name: string,
    inputs: KerasValue | readonly KerasValue[],
    config: Json,
    shape: readonly (number | null)[],
    weights: readonly KerasWeight[] = [],
  ): KerasValue {
    const merges = Array.isArray(inputs)
    const list = merges ? (inputs as KerasValue[]) : [inputs as KerasValue]
    this.layers.push({ className, name, config, inputs: list, merges, weights })
    return { layer: name, shape }
  }

  /** Attention of a sequence to itself: MultiHeadAttention(query, value). */
  attend(name: string, x: KerasValue, config: Json, weights: readonly KerasWeight[]): KerasValue {
    this.layers.push({ className: 'MultiHeadAttention', name, config, inputs: [x, x], merges: false, weights })
    return { layer: name, shape: x.shape }
  }

  /** Brings the layers into Keras' own order; nothing can be added after. */
  finish(): this {
    this.layers = inOrder(this)
    return this
  }

  /** Whether a layer is there that only Keras 3 knows to call. */
  get attends(): boolean {
    return this.layers.some(({ className }) => className === 'MultiHeadAttention')
  }

  get output(): string {
    return this.layers.at(-1)!.name
  }
}

/**
 * Layers in the order that Keras gives them: those far from the output first, then as a walk back from the output meets
 * them. In .keras files a layer's weights are found by this order.
 */
function inOrder(network: KerasNetwork): KerasLayer[] {
  const byName = new Map(network.layers.map((layer) => [layer.name, layer]))
  const met = new Map<string, number>()
  const walk = (name: string) => {
    if (met.has(name)) return
    met.set(name, met.size)
    for (const { layer } of byName.get(name)!.inputs) walk(layer)
  }
  walk(network.output)
  const depths = new Map<string, number>([[network.output, 0]])
  for (const { name, inputs } of [...network.layers].reverse()) {
    const depth = depths.get(name) ?? 0
    for (const { layer } of inputs) depths.set(layer, Math.max(depth + 1, depths.get(layer) ?? 0))
  }
  return network.layers.toSorted(
    (a, b) => depths.get(b.name)! - depths.get(a.name)! || met.get(a.name)! - met.get(b.name)!,
  )
}

/** Keras 3's configuration, as in the config.json of a .keras file. */
export function modernConfig(network: KerasNetwork): Json {
  const { name, layers } = network
  const shapes = new Map<string, { shape: readonly (number | null)[]; dtype: string }>()
  const tensor = ({ layer, shape }: KerasValue) => ({
    class_name: '__keras_tensor__',
    config: { shape, dtype: shapes.get(layer)?.dtype ?? 'float32', keras_history: [layer, 0, 0] },
  })
  shapes.set('ids', { shape: [null, null], dtype: 'int32' })
  const policy = { module: 'keras', class_name: 'DTypePolicy', config: { name: 'float32' }, registered_name: null }
  return {
    module: 'keras.src.models.functional',
    class_name: 'Functional',
    config: {
      name,
      trainable: true,
      layers: layers.map(({ className, name: layer, config, inputs, merges }) => ({
        module: 'keras.layers',
        class_name: className,
        config: {
          name: layer,
          ...(className !== 'InputLayer' && { dtype: policy }),
          ...wrapped(config),
        },
        registered_name: null,
        name: layer,
        inbound_nodes:
          inputs.length === 0 ? [] : [{ args: merges ? [inputs.map(tensor)] : inputs.map(tensor), kwargs: {} }],
      })),
      input_layers: [['ids', 0, 0]],
      output_layers: [[network.output, 0, 0]],
    },
    registered_name: 'Functional',
  }
}

/** The configuration of a layer within a layer gets the module that Keras 3 wants. */
const wrapped = (config: Json): Json =>
  config.layer
    ? { ...config, layer: { module: 'keras.layers', registered_name: null, ...(config.layer as Json) } }
    : config

/** Keras 2's configuration, which .h5 files and TensorFlow.js use and Keras 3 still reads. */
export function classicConfig(network: KerasNetwork): Json {
  const { name, layers } = network
  return {
    class_name: 'Functional',
    config: {
      name,
      trainable: true,
      layers: layers.map(({ className, name: layer, config, inputs }) => {
        const { batch_shape, ...rest } = config
        const own = batch_shape
          ? { ...rest, batch_input_shape: batch_shape, sparse: false }
          : { dtype: 'float32', ...wrapped(rest) }
        const calls = inputs.map((input) => [input.layer, 0, 0, {}])
        return {
          class_name: className,
          config: { name: layer, ...own },
          name: layer,
          inbound_nodes: calls.length === 0 ? [] : [calls],
        }
      }),
      input_layers: [['ids', 0, 0]],
      output_layers: [[network.output, 0, 0]],
    },
  }
}
