import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/**
 * An LSTM layer (Hochreiter & Schmidhuber 1997) over x (time, batch, width) with valid lengths int64 (batch), giving all
 * states (time, batch, directions · hidden). Weights have ONNX's layout: gates i, o, f, c; W (directions, 4·hidden,
 * width), R (directions, 4·hidden, hidden), B (directions, 8·hidden). Inference uses the fused operator.
 */
export function lstm(network: Network, x: Value, lengths: Value, hidden: number, bidirectional: boolean): Value {
  const directions = bidirectional ? 2 : 1
  const init = { kind: 'uniform', bound: 1 / Math.sqrt(hidden) } as const
  const w = network.parameter('W', [directions, 4 * hidden, Number(x.shape[2])], init)
  const r = network.parameter('R', [directions, 4 * hidden, hidden], init)
  const b = network.parameter('B', [directions, 8 * hidden], init, { decay: false })
  return o.within(network.graph, () => {
    if (!network.training) {
      const inputs = { x, w, r, b, lengths: o.cast(lengths, 'int32') }
      const [y] = o.lstm(inputs, hidden, bidirectional ? 'bidirectional' : 'forward') // (time, directions, batch, hidden)
      return o.reshape(o.transpose(y, [0, 2, 1, 3]), [0, 0, directions * hidden])
    }
    const weights = (direction: number) =>
      [w, r, b].map((all) => o.squeeze(o.slice(all, [direction], [direction + 1], [0]), [0])) as [Value, Value, Value]
    const forward = recurrence(x, ...weights(0), hidden)
    if (!bidirectional) return forward
    const backward = o.reverseSequence(recurrence(o.reverseSequence(x, lengths), ...weights(1), hidden), lengths)
    return o.concat([forward, backward], 2)
  })
}

/**
 * One direction for training. The loop over time is a Scan that keeps the gates; its gradient is a reverse Scan that
 * makes only the gates' gradients, so that those of the weights are large matrix products outside the loop.
 * x (time, batch, width), w (4·hidden, width), r (4·hidden, hidden), b (8·hidden) → (time, batch, hidden).
 */
function recurrence(x: Value, w: Value, r: Value, b: Value, hidden: number): Value {
  const [y] = x.graph.region([x, w, r, b], () => {
    const [wb, rb] = o.split(b, [4 * hidden, 4 * hidden], 0)
    const gatesOfX = o.add(o.fusedMatMul(x, w, { transB: true }), o.add(wb, rb)) // (time, batch, 4·hidden)
    const rT = o.transpose(r, [1, 0])
    const zero = o.constantOfShape(o.concat([o.dimension(x, 1), o.ints(x, [hidden])], 0), 0) // (batch, hidden)
    const { outputs } = o.scan([zero, zero], [gatesOfX], ([h, c], [a]) => {
      const z = o.add(a, o.matMul(h, rT)) // (batch, 4·hidden)
      const [zs, zg] = o.split(z, [3 * hidden, hidden], 1)
      const gates = o.sigmoid(zs)
      const candidate = o.tanh(zg)
      const [i, out, f] = o.split(gates, [hidden, hidden, hidden], 1)
      const next = o.add(o.mul(f, c), o.mul(i, candidate))
      const squashed = o.tanh(next)
      const state = o.mul(out, squashed)
      return { states: [state, next], outputs: [state, next, gates, candidate, squashed] }
    })
    const [h, c, gates, candidate, squashed] = outputs // each (time, batch, …)
    return {
      outputs: [h],
      gradient: ([dh]) => {
        const before = (all: Value) => o.slice(o.concat([o.unsqueeze(zero, [0]), all], 0), [0], [-1], [0]) // shifted by a step
        const [i, out, f] = o.split(gates, [hidden, hidden, hidden], 2)
        const slope = (gate: Value) => o.mul(gate, o.sub(1, gate))
        const flat = (value: Value) => o.sub(1, o.mul(value, value))
        const factors = o.concat(
          [
            o.mul(candidate, slope(i)),
            o.mul(squashed, slope(out)),
            o.mul(before(c), slope(f)),
            o.mul(i, flat(candidate)),
          ],
          2,
        ) // (time, batch, 4·hidden): d gate / d cell, or d state for the output gate
        const cellFactor = o.mul(out, flat(squashed))
        const { outputs: flows } = o.scan(
          [zero, zero],
          [dh!, factors, cellFactor, f],
          ([dState, dCell], [dy, factor, toCell, forget]) => {
            const d = o.add(dState, dy)
            const cell = o.add(dCell, o.mul(d, toCell))
            const dz = o.mul(o.concat([cell, d, cell, cell], 1), factor)
            return { states: [o.matMul(dz, r), o.mul(cell, forget)], outputs: [dz] }
          },
          { reverse: true },
        )
        const dz = flows[0] // (time, batch, 4·hidden)
        const rows = (value: Value) => o.reshape(value, [-1, Number(value.shape[2])])
        const db = o.reduceSum(dz, [0, 1])
        return [
          o.matMul(dz, w),
          o.fusedMatMul(rows(dz), rows(x), { transA: true }),
          o.fusedMatMul(rows(dz), rows(before(h)), { transA: true }),
          o.concat([db, db], 0),
        ]
      },
    }
  })
  return y
}
