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
 * x (time, batch, width), w (gates · hidden, width), r (gates · hidden, hidden), b (2 · gates · hidden) → (time, batch,
 * hidden).
 */
function oneDirection(cell: Cell, x: Value, w: Value, r: Value, b: Value, hidden: number): Value {
  const [y] = x.graph.region([x, w, r, b], () => {
    const rows = cell.gates * hidden
    const [wb, rb] = o.split(b, [rows, rows], 0)
    const a = o.add(o.fusedMatMul(x, w, { transB: true }), cell.innerBias ? wb : o.add(wb, rb)) // (time, batch, rows)
    const rT = o.transpose(r, [1, 0])
    const zero = o.constantOfShape(o.concat([o.dimension(x, 1), o.ints(x, [hidden])], 0), 0) // (batch, hidden)
    const zeros = Array.from({ length: cell.states }, () => zero)
    const { outputs } = o.scan(zeros, [a], (states, [at]) => {
      const u = cell.innerBias ? o.gemm(states[0], rT, rb) : o.matMul(states[0], rT) // (batch, rows)
      const { states: next, kept } = cell.step(states, at, u, hidden)
      return { states: next, outputs: [next[0], ...kept] }
    })
    const [after, ...kept] = outputs // each (time, batch, …)
    return {
      outputs: [after],
      gradient: ([dy]) => {
        const before = o.slice(o.concat([o.unsqueeze(zero, [0]), after], 0), [0], [-1], [0]) // shifted by a step
        const factors = cell.factors(after, before, kept, hidden)
        const { outputs: flows } = o.scan(
          zeros,
          [dy!, ...factors],
          (states, [dyAt, ...slices]) => {
            const { du, past, kept = [] } = cell.back([o.add(states[0], dyAt), ...states.slice(1)], slices)
            const dh = o.matMul(du, r)
            const next = past.map((flow, i) => (i > 0 ? flow! : flow ? o.add(dh, flow) : dh))
            return { states: next, outputs: [du, ...kept] }
          },
          { reverse: true },
        )
        const du = flows[0] // (time, batch, rows)
        const da = cell.da?.(du, flows.slice(1), factors, hidden) ?? du
        const matrix = (value: Value) => o.reshape(value, [-1, Number(value.shape[2])])
        const dwb = o.reduceSum(da, [0, 1])
        return [
          o.matMul(da, w),
          o.fusedMatMul(matrix(da), matrix(x), { transA: true }),
          o.fusedMatMul(matrix(du), matrix(before), { transA: true }),
          o.concat([dwb, da === du ? dwb : o.reduceSum(du, [0, 1])], 0),
        ]
      },
    }
  })
  return y
}
