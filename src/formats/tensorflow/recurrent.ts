import { float32, type Tensor } from '../../graph/tensor.ts'
import { permuted } from '../keras/convolution.ts'
import type { TfGraph } from './graphdef.ts'

const T = { T: { type: 'float32' } } as const

/** Weights of one direction of ONNX's LSTM, GRU or RNN. */
interface Direction {
  /** (rows, width), (rows, hidden), (2 · rows) */
  readonly w: Tensor
  readonly r: Tensor
  readonly b: Tensor
  readonly hidden: number
  readonly reversed: boolean
}
export type CellKind = 'LSTM' | 'GRU' | 'RNN'

/**
 * A recurrent layer as a TensorFlow loop (Enter, Merge, Switch, Exit, TensorArray: what TensorFlow and TensorFlow.js both
 * run): x (time, batch, width), lengths int32 (batch) → (time, batch, hidden), zero beyond a text's length.
 */
export function loopOver(
  g: TfGraph,
  kind: CellKind,
  x: string,
  lengths: string | undefined,
  direction: Direction,
): string {
  const { w, r, b, hidden, reversed } = direction
  const rows = w.dims[0]
  const [input, recurrent] = [(b.data as Float32Array).slice(0, rows), (b.data as Float32Array).slice(rows)]
  const gru = kind === 'GRU'
  const outer = gru ? input : input.map((value, i) => value + recurrent[i])
  const at = (i: number) =>
    g.add('StridedSlice', [shape, g.ints([i]), g.ints([i + 1]), g.ints([1])], sliceAttrs('int32', 1))
  const shape = g.add('Shape', [x], { ...T, out_type: { type: 'int32' } })
  const [time, batch] = [at(0), at(1)]
  const product = g.add('BatchMatMulV2', [x, g.constant(permuted(w, [1, 0]))], T)
  const a = g.add('AddV2', [product, g.constant(float32([rows], outer))], T) // (time, batch, rows)
  const size = g.add('Pack', [batch, g.ints([hidden], [])], { T: { type: 'int32' }, N: { int: 2 }, axis: { int: 0 } })
  const zero = g.add('Fill', [size, g.scalar('float32', 0)], { ...T, index_type: { type: 'int32' } })
  const array = g.add('TensorArrayV3', [time], {
    dtype: { type: 'float32' },
    element_shape: { shape: [-1, hidden] },
    dynamic_size: { flag: false },
    clear_after_read: { flag: true },
    identical_element_shapes: { flag: true },
    tensor_array_name: { text: '' },
  })

  const frame = g.unique('loop')
  const enter = (value: string, type: 'float32' | 'int32' | 'resource', constant: boolean) =>
    g.add('Enter', [value], {
      T: { type: type as 'float32' },
      frame_name: { text: frame },
      is_constant: { flag: constant },
      parallel_iterations: { int: 1 },
    })
  const states: [string, 'int32' | 'float32'][] = [
    [g.ints([0], []), 'int32'],
    [`${array}:1`, 'float32'],
    [zero, 'float32'],
    ...(kind === 'LSTM' ? [[zero, 'float32'] as [string, 'float32']] : []),
  ]
  const merges = states.map(([value, type]) =>
    g.add('Merge', [enter(value, type, false)], { T: { type }, N: { int: 2 } }),
  )
  const inside = (value: string, type: 'float32' | 'int32' | 'resource') => enter(value, type, true)
  const end = inside(time, 'int32')
  const going = g.add('LoopCond', [g.add('Less', [merges[0], end], { T: { type: 'int32' } })])
  const switches = merges.map((merge, i) => g.add('Switch', [merge, going], { T: { type: states[i][1] } }))
  const body = switches.map((name, i) => g.add('Identity', [`${name}:1`], { T: { type: states[i][1] } }))
  const [step, flow, h, c] = body
  const int = { T: { type: 'int32' } } as const
  const unit = inside(g.ints([1], []), 'int32')
  // what does not change from step to step is made outside: TensorFlow.js would make it in the first step alone
  const last = reversed ? inside(g.add('Sub', [time, g.ints([1], [])], int), 'int32') : end
  const place = reversed ? g.add('Sub', [last, step], int) : step
  const now = g.add('GatherV2', [inside(a, 'float32'), place, inside(g.ints([0], []), 'int32')], {
    Tparams: { type: 'float32' },
    Tindices: { type: 'int32' },
    Taxis: { type: 'int32' },
    batch_dims: { int: 0 },
  })
  const matrix = inside(g.constant(permuted(r, [1, 0])), 'float32')
  const product2 = g.add('MatMul', [h, matrix], { ...T, transpose_a: { flag: false }, transpose_b: { flag: false } })
  const u = gru ? g.add('AddV2', [product2, inside(g.constant(float32([rows], recurrent)), 'float32')], T) : product2
  const parts = (value: string, count: number) => {
    const axis = inside(g.ints([1], []), 'int32')
    const name = g.add('Split', [axis, value], { ...T, num_split: { int: count } })
    return Array.from({ length: count }, (_, i) => (i === 0 ? name : `${name}:${i}`))
  }
  const op = (name: string, ...inputs: string[]) => g.add(name, inputs, T)
  let next: string[]
  if (kind === 'LSTM') {
    const [i, o, f, z] = parts(op('AddV2', now, u), 4)
    const cell = op('AddV2', op('Mul', op('Sigmoid', f), c), op('Mul', op('Sigmoid', i), op('Tanh', z)))
    next = [op('Mul', op('Sigmoid', o), op('Tanh', cell)), cell]
  } else if (gru) {
    const [az, ar, ah] = parts(now, 3)
    const [uz, ur, uh] = parts(u, 3)
    const z = op('Sigmoid', op('AddV2', az, uz))
    const candidate = op('Tanh', op('AddV2', ah, op('Mul', op('Sigmoid', op('AddV2', ar, ur)), uh)))
    next = [op('AddV2', candidate, op('Mul', z, op('Sub', h, candidate)))]
  } else next = [op('Tanh', op('AddV2', now, u))]

  let shown = next[0]
  if (lengths) {
    const inText = g.add('Less', [place, inside(lengths, 'int32')], int) // (batch)
    const valid = g.add('ExpandDims', [inText, inside(g.ints([1], []), 'int32')], {
      T: { type: 'bool' },
      Tdim: { type: 'int32' },
    })
    const before = [h, c]
    next = next.map((state, i) => op('SelectV2', valid, state, before[i]))
    shown = op('SelectV2', valid, next[0], inside(g.scalar('float32', 0), 'float32'))
  }
  const written = g.add('TensorArrayWriteV3', [inside(array, 'resource'), place, shown, flow], T)
  const after = [g.add('AddV2', [step, unit], int), written, ...next]
  after.forEach((value, i) => {
    g.connect(merges[i], g.add('NextIteration', [value], { T: { type: states[i][1] } }))
  })
  const exits = switches.map((name, i) => g.add('Exit', [name], { T: { type: states[i][1] } }))
  const range = g.add('Range', [g.ints([0], []), time, g.ints([1], [])], { Tidx: { type: 'int32' } })
  return g.add('TensorArrayGatherV3', [array, range, exits[1]], {
    dtype: { type: 'float32' },
    element_shape: { shape: [-1, hidden] },
  })
}

/** One element of a vector, without its axis. */
const sliceAttrs = (type: 'int32' | 'int64' | 'float32', shrink = 0) =>
  ({
    T: { type },
    Index: { type: 'int32' },
    begin_mask: { int: 0 },
    end_mask: { int: 0 },
    ellipsis_mask: { int: 0 },
    new_axis_mask: { int: 0 },
    shrink_axis_mask: { int: shrink },
  }) as const
