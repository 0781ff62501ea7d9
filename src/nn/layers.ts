import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** Rows of a table picked by `ids` (any shape); adds a last axis of `width`. Entries start as N(0, 0.1²). */
export function embedding(network: Network, ids: Value, vocabulary: number, width: number): Value {
  const table = network.parameter('weight', [vocabulary, width], { kind: 'normal', deviation: 0.1 }, { decay: false })
  return o.within(network.graph, () => o.gather(table, ids)) // (…, width)
}

/** `x·W' + b`: (rows, inputs) → (rows, outputs), started as PyTorch's Linear. */
export function dense(network: Network, x: Value, outputs: number): Value {
  const inputs = Number(x.shape.at(-1))
  const init = { kind: 'uniform', bound: 1 / Math.sqrt(inputs) } as const
  const weight = network.parameter('weight', [outputs, inputs], init)
  const bias = network.parameter('bias', [outputs], init)
  return o.within(network.graph, () => o.gemm(x, weight, bias, { transB: true })) // (rows, outputs)
}

export type Pooling = 'last' | 'mean' | 'max'

/** One vector a sequence from its valid steps alone: y (time, batch, width), lengths int64 (batch) → (batch, width). */
export function pool(network: Network, y: Value, lengths: Value, pooling: Pooling): Value {
  return o.within(network.graph, () => {
    if (pooling === 'last') {
      const batch = o.squeeze(o.dimension(lengths, 0), [0])
      const rows = o.range(int(lengths, 0), batch, int(lengths, 1))
      const at = o.add(o.mul(o.sub(lengths, 1), batch), rows) // position in (time · batch)
      return o.gather(o.reshape(y, [-1, Number(y.shape[2])]), at) // (batch, width)
    }
    const valid = validSteps(y, lengths) // (time, batch, 1)
    if (pooling === 'max') return o.reduceMax(o.where(valid, y, -1e30), [0])
    const total = o.reduceSum(o.where(valid, y, 0), [0]) // (batch, width)
    return o.div(total, o.unsqueeze(o.cast(lengths, y.dtype), [1]))
  })
}

/** Whether step t belongs to sequence b: (time, batch, 1). */
function validSteps(y: Value, lengths: Value): Value {
  const steps = o.range(int(lengths, 0), o.squeeze(o.dimension(y, 0), [0]), int(lengths, 1)) // (time)
  return o.unsqueeze(o.less(o.unsqueeze(steps, [1]), o.unsqueeze(lengths, [0])), [2])
}

const int = (near: Value, value: number) => o.scalarLike(near, value)
