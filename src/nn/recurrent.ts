import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { type Cell, cells } from './cells.ts'
import type { Build } from './family.ts'
import { dense, embedding, type Pooling, pool } from './layers.ts'

/** A classifier: embedding, one or more layers, pooling over valid steps, dense head. */
export const recurrentClassifier =
  (cell: keyof typeof cells): Build =>
  (network, ids, lengths, config) => {
    const { vocabulary, classes } = config
    const [width, hidden, layers] = [Number(config.width), Number(config.hidden), Number(config.layers)]
    const [dropout, bidirectional] = [Number(config.dropout), Boolean(config.bidirectional)]
    const timeMajor = o.within(network.graph, () => o.transpose(ids, [1, 0]))
    let x = embedding(network.scope('embedding'), timeMajor, vocabulary, width) // (time, batch, width)
    for (let i = 0; i < layers; i++) {
      const layer = network.scope(`${cell}.${i}`)
      // one mask for all steps of a sequence (Gal & Ghahramani 2016)
      x = layer.dropout(x, dropout, [1, ids.shape[0], Number(x.shape[2])])
      x = recurrent(layer, cells[cell], x, lengths, { hidden, bidirectional }) // (time, batch, directions · hidden)
    }
    const head = network.scope('classifier')
    const pooled = pool(network, x, lengths, config.pooling as Pooling) // (batch, directions · hidden)
    return dense(head, head.dropout(pooled, dropout), classes) // (batch, classes)
  }

/**
 * A recurrent layer over x (time, batch, width) with valid lengths int64 (batch), giving all states (time, batch,
 * directions · hidden). Weights have ONNX's layout: W (directions, gates · hidden, width), R (directions, gates · hidden,
 * hidden), B (directions, 2 · gates · hidden). Inference uses the fused operator.
 */
function recurrent(
  network: Network,
  cell: Cell,
  x: Value,
  lengths: Value,
  { hidden, bidirectional }: { hidden: number; bidirectional: boolean },
): Value {
  const directions = bidirectional ? 2 : 1
  const rows = cell.gates * hidden
  const init = { kind: 'uniform', bound: 1 / Math.sqrt(hidden) } as const
  const w = network.parameter('W', [directions, rows, Number(x.shape[2])], init)
  const r = network.parameter('R', [directions, rows, hidden], init)
  const b = network.parameter('B', [directions, 2 * rows], init, { decay: false })
  return o.within(network.graph, () => {
    if (!network.training) {
      const inputs = [x, w, r, b, o.cast(lengths, 'int32')]
      const direction = bidirectional ? 'bidirectional' : 'forward'
      const y = o.recurrent(cell.operator, inputs, hidden, direction, cell.attributes) // (time, directions, batch, hidden)
      return o.reshape(o.transpose(y, [0, 2, 1, 3]), [0, 0, directions * hidden])
    }
    const weights = (direction: number) =>
      [w, r, b].map((all) => o.squeeze(o.slice(all, [direction], [direction + 1], [0]), [0])) as [Value, Value, Value]
    const forward = oneDirection(cell, x, ...weights(0), hidden)
    if (!bidirectional) return forward
    const backward = o.reverseSequence(
      oneDirection(cell, o.reverseSequence(x, lengths), ...weights(1), hidden),
      lengths,
    )
    return o.concat([forward, backward], 2)
  })
}

/**
 * One direction for training. The loop over time is a Scan that keeps what the gradient needs; its gradient is a reverse
 * Scan that makes only the gates' gradients, so that those of the weights are large matrix products outside the loop.
 * Within the loops the batch is the last axis: weights are then the left side of products, which onnxruntime takes as
 * they are, while it would rearrange a right side of that size at every step.
 * x (time, batch, width), w (gates · hidden, width), r (gates · hidden, hidden), b (2 · gates · hidden) → (time, batch,
 * hidden).
 */
function oneDirection(cell: Cell, x: Value, w: Value, r: Value, b: Value, hidden: number): Value {
  const [y] = x.graph.region([x, w, r, b], () => {
    const rows = cell.gates * hidden
    const [wb, rb] = o.split(o.unsqueeze(b, [1]), [rows, rows], 0) // (rows, 1)
    const a = o.add(o.fusedMatMul(w, x, { transB: true }), cell.innerBias ? wb : o.add(wb, rb)) // (time, rows, batch)
    const batch = o.dimension(x, 1)
    const zero = o.constantOfShape(o.concat([o.ints(x, [hidden]), batch], 0), 0) // (hidden, batch)
    const zeros = Array.from({ length: cell.states }, () => zero)
    const { outputs } = o.scan(zeros, [a], (states, [at]) => {
      const product = (added: Value) => o.gemm(r, states[0], added)
      const { states: next, kept } = cell.step({ states, a: at, product, bias: rb, hidden })
      return { states: next, outputs: [next[0], ...kept] }
    })
    const [after, ...kept] = outputs // each (time, …, batch)
    const result = swap(after) // (time, batch, hidden)
    return {
      outputs: [result],
      gradient: ([dy]) => {
        const factors = cell.factors(after, delayed(after, zero), kept, hidden)
        const rT = o.transpose(r, [1, 0])
        const { outputs: flows } = o.scan(
          zeros,
          [swap(dy!), ...factors],
          (states, [dyAt, ...slices]) => {
            const { du, past, kept = [] } = cell.back([o.add(states[0], dyAt), ...states.slice(1)], slices, hidden)
            const dh = past[0] ? o.gemm(rT, du, past[0]) : o.matMul(rT, du)
            return { states: [dh, ...(past.slice(1) as Value[])], outputs: [du, ...kept] }
          },
          { reverse: true },
        )
        const du = flows[0] // (time, rows, batch)
        const own = cell.da?.(du, flows.slice(1), factors, hidden)
        const matrix = (value: Value) => o.reshape(value, [-1, Number(value.shape[2])])
        const [duT, daT] = [swap(du), own && swap(own)] // (time, batch, rows)
        const [dU, dA] = [matrix(duT), matrix(daT ?? duT)]
        const start = o.constantOfShape(o.concat([batch, o.ints(x, [hidden])], 0), 0) // (batch, hidden)
        const dwb = o.reduceSum(dA, [0])
        return [
          o.matMul(daT ?? duT, w),
          o.fusedMatMul(dA, matrix(x), { transA: true }),
          o.fusedMatMul(dU, matrix(delayed(result, start)), { transA: true }),
          o.concat([dwb, daT ? o.reduceSum(dU, [0]) : dwb], 0),
        ]
      },
    }
  })
  return y
}

const swap = (value: Value) => o.transpose(value, [0, 2, 1])

/** The states before each step from those after it: (time, …) beginning with `first` (…). */
const delayed = (after: Value, first: Value) => o.slice(o.concat([o.unsqueeze(first, [0]), after], 0), [0], [-1], [0])
