import { fail } from '../../base/errors.ts'
import { float32, type Tensor } from '../../graph/tensor.ts'
import type { KnownFamily } from '../known-family.ts'
import { permuted } from './convolution.ts'
import { KerasNetwork, type KerasValue, type KerasWeight } from './network.ts'

type Write = (network: KerasNetwork, ids: KerasValue, known: KnownFamily) => KerasValue

const weightOf = ({ weights }: KnownFamily, path: string): Tensor => weights.get(path)!
const values = ({ data }: Tensor) => data as Float32Array
const stored = (name: string, tensor: Tensor, part = ''): KerasWeight => ({ name, part, tensor })
const transposed = (tensor: Tensor) => permuted(tensor, [1, 0])

function embedding(
  network: KerasNetwork,
  name: string,
  ids: KerasValue,
  table: Tensor,
  options: { mask?: boolean; frozen?: boolean } = {},
) {
  const [rows, width] = table.dims
  const config = {
    input_dim: rows,
    output_dim: width,
    mask_zero: options.mask ?? false,
    ...(options.frozen && { trainable: false }),
  }
  return network.add('Embedding', name, ids, config, [null, null, width], [stored('embeddings', table)])
}

/** 1 where a token stands and 0 for padding, or other numbers for the two: (batch, time, 1). A frozen table says it. */
function marks(network: KerasNetwork, name: string, ids: KerasValue, rows: number, padding = 0, token = 1) {
  const table = float32(
    [rows, 1],
    Array.from({ length: rows }, (_, id) => (id === 0 ? padding : token)),
  )
  return embedding(network, name, ids, table, { frozen: true })
}

function dense(network: KerasNetwork, name: string, x: KerasValue, weight: Tensor, bias: Tensor, activation: string) {
  const [units] = weight.dims
  const config = { units, activation, use_bias: true }
  const all = [stored('kernel', transposed(weight)), stored('bias', bias)]
  return network.add('Dense', name, x, config, [...x.shape.slice(0, -1), units], all)
}

const dropped = (network: KerasNetwork, className: string, name: string, x: KerasValue, rate: unknown) =>
  Number(rate) > 0 ? network.add(className, name, x, { rate: Number(rate) }, x.shape) : x

/** The sum over the steps that `picks` (batch, time, 1) marks: (batch, width). */
function picked(network: KerasNetwork, picks: KerasValue, x: KerasValue) {
  const width = x.shape.at(-1)!
  const row = network.add('Dot', 'picked', [picks, x], { axes: 1, normalize: false }, [null, 1, width])
  return network.add('Flatten', 'flat', row, {}, [null, width])
}

/** Differences of neighbouring marks: [0, 1, -1] finds the last token, [-1, 1, 0] the first. */
function edge(network: KerasNetwork, name: string, valid: KerasValue, kernel: readonly number[]) {
  const config = {
    filters: 1,
    kernel_size: [3],
    strides: [1],
    padding: 'same',
    use_bias: false,
    activation: 'relu',
    trainable: false,
  }
  return network.add('Conv1D', name, valid, config, [null, null, 1], [stored('kernel', float32([3, 1, 1], kernel))])
}

/** The mean of the steps that hold tokens; x carries a mask that says which. */
function mean(network: KerasNetwork, x: KerasValue, ids: KerasValue, rows: number) {
  if (network.dialect === 'keras') return network.add('GlobalAveragePooling1D', 'pooling', x, {}, [null, x.shape[2]])
  // TensorFlow.js' pooling knows no mask; a softmax of zeros gives tokens even shares
  const turned = network.add('Permute', 'turned', marks(network, 'closed', ids, rows, -1e30, 0), { dims: [2, 1] }, [
    null,
    1,
    null,
  ])
  const shares = network.add('Activation', 'shares', turned, { activation: 'softmax' }, [null, 1, null])
  return picked(network, network.add('Permute', 'shares_back', shares, { dims: [2, 1] }, [null, null, 1]), x)
}

/** Zeros before and after the steps of x (batch, time, width). */
function padded(network: KerasNetwork, name: string, x: KerasValue, by: number) {
  if (by === 0) return x
  if (network.dialect === 'keras') return network.add('ZeroPadding1D', name, x, { padding: [by, by] }, x.shape)
  const width = x.shape[2]
  const plane = network.add('Reshape', `${name}_plane`, x, { target_shape: [-1, 1, width] }, [null, null, 1, width])
  const config = {
    padding: [
      [by, by],
      [0, 0],
    ],
    data_format: 'channels_last',
  }
  const wider = network.add('ZeroPadding2D', name, plane, config, plane.shape)
  return network.add('Reshape', `${name}_steps`, wider, { target_shape: [-1, width] }, x.shape)
}

/** Gates from ONNX's order to Keras': i, o, f, c → i, f, c, o; z, r, h stay. */
const cells = {
  lstm: { className: 'LSTM', order: [0, 2, 3, 1], config: { recurrent_activation: 'sigmoid' } },
  gru: { className: 'GRU', order: [0, 1, 2], config: { recurrent_activation: 'sigmoid', reset_after: true } },
  rnn: { className: 'SimpleRNN', order: [0], config: {} },
} as const

/** Kernel, recurrent kernel and bias of one direction: W (directions, gates · hidden, width) and so on → (width, gates · hidden). */
function cellWeights(family: keyof typeof cells, [w, r, b]: Tensor[], direction: number, part: string): KerasWeight[] {
  const { order } = cells[family]
  const gates = order.length
  const [rows, hidden] = [r.dims[1], r.dims[2]]
  const turned = (tensor: Tensor) => {
    const columns = tensor.dims[2]
    const all = values(tensor).subarray(direction * rows * columns, (direction + 1) * rows * columns)
    const ordered = order.flatMap((gate) => [...all.subarray(gate * hidden * columns, (gate + 1) * hidden * columns)])
    return transposed(float32([rows, columns], ordered))
  }
  const biases = values(b).subarray(direction * 2 * rows, (direction + 1) * 2 * rows)
  const bias = (from: number) =>
    order.flatMap((gate) => [...biases.subarray(from + gate * hidden, from + (gate + 1) * hidden)])
  const [input, recurrent] = [bias(0), bias(gates * hidden)]
  const both =
    family === 'gru'
      ? float32([2, rows], [...input, ...recurrent])
      : float32(
          [rows],
          input.map((value, i) => Math.fround(value + recurrent[i])),
        )
  return [stored('kernel', turned(w), part), stored('recurrent_kernel', turned(r), part), stored('bias', both, part)]
}

const recurrent =
  (family: keyof typeof cells): Write =>
  (network, ids, known) => {
    const { layers, hidden, bidirectional, pooling, vocabulary, dropout } = known.config
    const units = Number(hidden)
    const width = units * (bidirectional ? 2 : 1)
    let x = embedding(network, 'embedding', ids, weightOf(known, 'embedding/weight'), { mask: true })
    for (let i = 0; i < Number(layers); i++) {
      x = dropped(network, 'SpatialDropout1D', `dropout_${i}`, x, dropout)
      const sequences = i + 1 < Number(layers) || pooling !== 'last' || Boolean(bidirectional)
      const { className, config } = cells[family]
      const name = `${family}_${i}`
      const cell = { units, activation: 'tanh', use_bias: true, return_sequences: sequences, ...config }
      const all = ['W', 'R', 'B'].map((part) => weightOf(known, `${family}.${i}/${part}`))
      const shape = sequences ? [null, null, width] : [null, width]
      if (bidirectional) {
        const layer = { class_name: className, config: { name: `${name}_cell`, ...cell } }
        const both = [
          ...cellWeights(family, all, 0, 'forward_layer/cell'),
          ...cellWeights(family, all, 1, 'backward_layer/cell'),
        ]
        x = network.add('Bidirectional', name, x, { merge_mode: 'concat', layer }, shape, both)
      } else x = network.add(className, name, x, cell, shape, cellWeights(family, all, 0, 'cell'))
    }
    if (pooling === 'mean') x = mean(network, x, ids, vocabulary)
    if (pooling === 'max') {
      const closed = marks(network, 'closed', ids, vocabulary, -1e30, 0)
      const open = network.add('Add', 'open', [x, closed], {}, x.shape)
      x = network.add('GlobalMaxPooling1D', 'pooling', open, {}, [null, width])
    }
    // the backward half of the last token's state has read that token alone
    if (pooling === 'last' && bidirectional)
      x = picked(network, edge(network, 'last', marks(network, 'valid', ids, vocabulary), [0, 1, -1]), x)
    return x
  }

/**
 * Windows over zero-padded vectors: the padding's own vector is taken off the table and what it would add goes into the
 * bias. Windows without a token give 0, which no rectified answer is below.
 */
const textcnn: Write = (network, ids, known) => {
  const { narrowest, windows, filters, vocabulary, dropout } = known.config
  const table = weightOf(known, 'embedding/weight')
  const width = table.dims[1]
  const padding = values(table).slice(0, width)
  const shifted = float32(
    table.dims,
    values(table).map((value, i) => value - padding[i % width]),
  )
  const vectors = embedding(network, 'embedding', ids, shifted)
  const x = dropped(network, 'SpatialDropout1D', 'dropout_0', vectors, dropout)
  const valid = marks(network, 'valid', ids, vocabulary)
  const strongest = Array.from({ length: Number(windows) }, (_, i) => {
    const size = Number(narrowest) + i
    const weight = weightOf(known, `windows.${size}/weight`) // (filters, width, size)
    const bias = values(weightOf(known, `windows.${size}/bias`)).map((value, filter) => {
      let sum = value
      for (let c = 0; c < width; c++)
        for (let t = 0; t < size; t++) sum += values(weight)[(filter * width + c) * size + t] * padding[c]
      return sum
    })
    const config = {
      filters: Number(filters),
      kernel_size: [size],
      strides: [1],
      padding: 'valid',
      activation: 'relu',
      use_bias: true,
    }
    const all = [stored('kernel', permuted(weight, [2, 1, 0])), stored('bias', float32([Number(filters)], bias))]
    const answers = network.add(
      'Conv1D',
      `windows_${size}`,
      padded(network, `vectors_${size}`, x, size - 1),
      config,
      [null, null, Number(filters)],
      all,
    )
    const pool = { pool_size: [size], strides: [1], padding: 'valid' }
    const within = network.add(
      'MaxPooling1D',
      `valid_${size}`,
      padded(network, `valid_padded_${size}`, valid, size - 1),
      pool,
      [null, null, 1],
    )
    const open = network.add('Multiply', `open_${size}`, [answers, within], {}, answers.shape)
    return network.add('GlobalMaxPooling1D', `strongest_${size}`, open, {}, [null, Number(filters)])
  })
  if (strongest.length === 1) return strongest[0]
  return network.add('Concatenate', 'features', strongest, { axis: -1 }, [null, strongest.length * Number(filters)])
}

const bow: Write = (network, ids, known) => {
  if (known.config.weighting === 'rarity')
    throw fail('UNSUPPORTED', {
      what: 'a bag whose tokens count by their rarity as layers',
      instead: 'Train it with --set weighting=mean, or export it as onnx or savedmodel.',
    })
  const x = embedding(network, 'embedding', ids, weightOf(known, 'embedding/weight'), { mask: true })
  return mean(network, x, ids, known.config.vocabulary)
}

const wide: Write = () => {
  throw fail('UNSUPPORTED', {
    what: 'a network with a bag of n-grams as layers',
    instead: 'Train it with --family textcnn, or export it as onnx or savedmodel.',
  })
}

/** Tokens are counted by a recurrent sum, and the count looks its position up: every layer is one of Keras' own. */
function placed(network: KerasNetwork, ids: KerasValue, known: KnownFamily, width: number): KerasValue {
  const { positions, maxLength, vocabulary } = known.config
  const rows = Number(maxLength)
  const table = new Float32Array((rows + 1) * width)
  if (positions === 'learned') table.set(values(weightOf(known, 'positions/weight')), width)
  else {
    for (let p = 0; p < rows; p++) {
      for (let i = 0; i < width / 2; i++) {
        const angle = Math.fround(p * Math.fround(10_000 ** ((-2 * i) / width)))
        table[(p + 1) * width + i] = Math.sin(angle)
        table[(p + 1) * width + width / 2 + i] = Math.cos(angle)
      }
    }
  }
  const valid = marks(network, 'valid', ids, vocabulary)
  const one = () => float32([1, 1], [1])
  const config = { units: 1, activation: 'linear', use_bias: false, return_sequences: true, trainable: false }
  const sum = [stored('kernel', one(), 'cell'), stored('recurrent_kernel', one(), 'cell')]
  const counted = network.add('SimpleRNN', 'count', valid, config, [null, null, 1], sum)
  const tokens = network.add('Multiply', 'place', [counted, valid], {}, [null, null, 1])
  const flat = network.add('Reshape', 'places', tokens, { target_shape: [-1] }, [null, null])
  return embedding(network, 'positions', flat, float32([rows + 1, width], table), {
    mask: true,
    frozen: positions !== 'learned',
  })
}

const transformer: Write = (network, ids, known) => {
  const { layers, heads, pooling, vocabulary, dropout } = known.config
  const table = weightOf(known, 'embedding/weight')
  const width = table.dims[1]
  const size = width / Number(heads)
  const scale = Math.fround(Math.sqrt(width))
  const scaled = float32(
    table.dims,
    values(table).map((value) => value * scale),
  )
  const vectors = embedding(network, 'embedding', ids, scaled, { mask: true })
  const sequence = [null, null, width]
  let x = network.add('Add', 'placed', [vectors, placed(network, ids, known, width)], {}, sequence)
  x = dropped(network, 'SpatialDropout1D', 'dropout_0', x, dropout)
  const normalised = (path: string, name: string, value: KerasValue) => {
    const all = [stored('gamma', weightOf(known, `${path}/scale`)), stored('beta', weightOf(known, `${path}/bias`))]
    return network.add('LayerNormalization', name, value, { axis: -1, epsilon: 1e-5 }, sequence, all)
  }
  for (let i = 0; i < Number(layers); i++) {
    const at = `layer.${i}`
    const weight = values(weightOf(known, `${at}/attention/in/weight`)) // (3 · width, width)
    const bias = values(weightOf(known, `${at}/attention/in/bias`))
    const inputs = ['query', 'key', 'value'].flatMap((name, part): KerasWeight[] => {
      const rows = float32([width, width], weight.slice(part * width * width, (part + 1) * width * width))
      const kernel = float32([width, Number(heads), size], values(transposed(rows)))
      return [
        stored(`${name}/kernel`, kernel, `${name}_dense`),
        stored(
          `${name}/bias`,
          float32([Number(heads), size], bias.slice(part * width, (part + 1) * width)),
          `${name}_dense`,
        ),
      ]
    })
    const outKernel = values(transposed(weightOf(known, `${at}/attention/out/weight`)))
    const output = [
      stored('attention_output/kernel', float32([Number(heads), size, width], outKernel), 'output_dense'),
      stored('attention_output/bias', weightOf(known, `${at}/attention/out/bias`), 'output_dense'),
    ]
    const y = normalised(`${at}/attention`, `attention_norm_${i}`, x)
    const config = { num_heads: Number(heads), key_dim: size, value_dim: size, use_bias: true, dropout: 0 }
    const heard = network.attend(`attention_${i}`, y, config, [...inputs, ...output])
    x = network.add(
      'Add',
      `attended_${i}`,
      [x, dropped(network, 'SpatialDropout1D', `dropout_a${i}`, heard, dropout)],
      {},
      sequence,
    )
    const z = normalised(`${at}/feedForward`, `feed_norm_${i}`, x)
    const part = (name: string, value: KerasValue, activation: string) => {
      const [w, b] = ['weight', 'bias'].map((kind) => weightOf(known, `${at}/feedForward/${name}/${kind}`))
      return dense(network, `feed_${name}_${i}`, value, w, b, activation)
    }
    const fed = part('out', part('in', z, 'gelu'), 'linear')
    x = network.add(
      'Add',
      `fed_${i}`,
      [x, dropped(network, 'SpatialDropout1D', `dropout_f${i}`, fed, dropout)],
      {},
      sequence,
    )
  }
  const y = normalised('last', 'last_norm', x)
  if (pooling === 'mean') return mean(network, y, ids, vocabulary)
  return picked(network, edge(network, 'first', marks(network, 'tokens', ids, vocabulary), [-1, 1, 0]), y)
}

const writers: Record<KnownFamily['family'], Write> = {
  lstm: recurrent('lstm'),
  gru: recurrent('gru'),
  rnn: recurrent('rnn'),
  textcnn,
  bow,
  wide,
  transformer,
}

/**
 * A text classifier as a Keras network of Keras' own layers: ids (batch, time), 0 for padding at the end → probabilities
 * (batch, classes). It computes what the version computes, to rounding. Throws UNSUPPORTED where layers cannot say it.
 */
export function kerasNetwork(name: string, known: KnownFamily, dialect: KerasNetwork['dialect']): KerasNetwork {
  const network = new KerasNetwork(name, dialect)
  const features = writers[known.family](network, network.ids(), known)
  const x = dropped(network, 'Dropout', 'dropout', features, known.config.dropout)
  const [weight, bias] = ['weight', 'bias'].map((part) => weightOf(known, `classifier/${part}`))
  dense(network, 'probabilities', x, weight, bias, 'softmax')
  return network.finish()
}
