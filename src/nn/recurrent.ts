import { type Cell, cells } from '../autograd/cells.ts'
import { type Layer, recurrence } from '../autograd/recurrence.ts'
import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
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
    const each = [w, r, b].map((all) => o.split(all, Array<number>(directions).fill(1), 0))
    const weights = (direction: number) => each.map((all) => o.squeeze(all[direction], [0])) as unknown as Layer
    const direction = (at: number, along: Value) => recurrence(cell, along, weights(at))[0]
    const forward = direction(0, x)
    if (!bidirectional) return forward
    const backward = o.reverseSequence(direction(1, o.reverseSequence(x, lengths)), lengths)
    return o.concat([forward, backward], 2)
  })
}
