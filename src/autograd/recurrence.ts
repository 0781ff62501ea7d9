import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { Cell } from './cells.ts'

/** W (gates · hidden, width), R (gates · hidden, hidden) and B (2 · gates · hidden) of one direction, as ONNX lays them out. */
export type Layer = readonly [w: Value, r: Value, b: Value]

/**
 * One direction of a recurrent layer, to be differentiated: x (time, batch, width) → states (time, batch, hidden), and, where
 * the states to begin with are given (batch, hidden), those after the last step.
 * The loop over time is a Scan that keeps what the gradient needs; its gradient is a reverse Scan that makes only the gates'
 * gradients, so that those of the weights are large matrix products outside the loop. Within the loops the batch is the
 * last axis: weights are then the left side of products, which onnxruntime takes as they are, while it would rearrange a
 * right side of that size at every step.
 */
export function recurrence(cell: Cell, x: Value, [w, r, b]: Layer, first: readonly Value[] = []): Value[] {
  const hidden = Number(r.shape[1])
  return x.graph.region([x, w, r, b, ...first], () => {
    const rows = cell.gates * hidden
    const [wb, rb] = o.split(o.unsqueeze(b, [1]), [rows, rows], 0) // (rows, 1)
    const batch = o.dimension(x, 1)
    // one vector for each row of the batch: adding numbers along the last axis takes three times as long
    const shift = o.expand(cell.innerBias ? wb : o.add(wb, rb), o.concat([o.ints(x, [rows]), batch], 0)) // (rows, batch)
    const a = o.add(o.fusedMatMul(w, x, { transB: true }), shift) // (time, rows, batch)
    const zero = o.constantOfShape(o.concat([o.ints(x, [hidden]), batch], 0), 0) // (hidden, batch)
    const start = Array.from({ length: cell.states }, (_, i) => (first[i] ? turned(first[i]) : zero))
    const { states: finals, outputs } = o.scan(start, [a], (states, [at]) => {
      const product = (added: Value) => o.gemm(r, states[0], added)
      const { states: next, kept } = cell.step({ states, a: at, product, bias: rb, hidden })
      return { states: next, outputs: [next[0], ...kept] }
    })
    const [after, ...kept] = outputs // each (time, …, batch)
    const result = turned(after) // (time, batch, hidden)
    return {
      outputs: [result, ...first.map((_, i) => turned(finals[i]))],
      gradient: ([dy, ...dFinals]) => {
        const factors = cell.factors(after, delayed(after, start[0]), kept, hidden)
        const rT = o.transpose(r, [1, 0])
        const { states: flown, outputs: flows } = o.scan(
          start.map((_, i) => (dFinals[i] ? turned(dFinals[i]) : zero)),
          [turned(dy ?? o.zerosLike(result)), ...factors],
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
        const [duT, daT] = [turned(du), own && turned(own)] // (time, batch, rows)
        const [dU, dA] = [matrix(duT), matrix(daT ?? duT)]
        const before = first[0] ?? o.constantOfShape(o.concat([batch, o.ints(x, [hidden])], 0), 0) // (batch, hidden)
        const dwb = o.reduceSum(dA, [0])
        return [
          o.reshape(o.matMul(dA, w), o.shapeValue(x)),
          o.fusedMatMul(dA, matrix(x), { transA: true }),
          o.fusedMatMul(dU, matrix(delayed(result, before)), { transA: true }),
          o.concat([dwb, daT ? o.reduceSum(dU, [0]) : dwb], 0),
          ...first.map((_, i) => turned(flown[i])),
        ]
      },
    }
  })
}

/** The last two axes exchanged. */
function turned(value: Value): Value {
  const axes = [...value.shape.keys()]
  return o.transpose(value, [...axes.slice(0, -2), axes.length - 1, axes.length - 2])
}

/** The states before each step from those after it: (time, …) beginning with `first` (…). */
const delayed = (after: Value, first: Value) => o.slice(o.concat([o.unsqueeze(first, [0]), after], 0), [0], [-1], [0])
