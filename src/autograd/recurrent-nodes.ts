import { fail } from '../base/errors.ts'
import { floatOf, intOf, stringOf, stringsOf } from '../graph/attributes.ts'
import type { Value } from '../graph/builder.ts'
import type { NodeProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import type { Rewrite } from '../graph/upgrade.ts'
import { type Cell, cells } from './cells.ts'
import { recurrence } from './recurrence.ts'

const activations: Record<Cell['operator'], readonly string[]> = {
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
  GRU: ['Sigmoid', 'Tanh'],
  RNN: ['Tanh'],
}

/** Throws UNSUPPORTED for variants of the operator that the cell does not compute. */
function check(cell: Cell, node: NodeProto, peepholes: Value | undefined) {
  const refuse = (what: string) =>
    fail('UNSUPPORTED', {
      what: `training through ${node.opType} "${node.name}" ${what}`,
      instead: 'Freeze what comes before it, or export the usual form of the layer.',
    })
  const own = activations[cell.operator]
  const given = stringsOf(node, 'activations') ?? own
  const strange = given.find((name, i) => name.toLowerCase() !== own[i % own.length].toLowerCase())
  if (strange !== undefined) throw refuse(`with the activation ${strange.slice(0, 40)}`)
  if (peepholes) throw refuse('with peepholes')
  if (floatOf(node, 'clip', 0) > 0) throw refuse('that clips its states')
  if (intOf(node, 'input_forget', 0) === 1) throw refuse('with one gate for input and forgetting')
  if (cell.operator === 'GRU' && intOf(node, 'linear_before_reset', 0) === 0)
    throw refuse('that resets before its product')
  return refuse
}

/**
 * An LSTM, GRU or RNN node as a loop that can be differentiated (https://onnx.ai/onnx/operators/onnx__LSTM.html): x
 * (time, batch, width), W, R, B (directions, …), lengths (batch), first states (directions, batch, hidden) → Y (time,
 * directions, batch, hidden) and the last states; with `layout` 1 the batch comes first.
 */
const apart =
  (cell: Cell): Rewrite =>
  (_graph, node, [given, w, r, b, sizes, ...states]) => {
    const refuse = check(cell, node, states[2])
    const batchFirst = intOf(node, 'layout', 0) === 1
    const x = batchFirst ? o.transpose(given!, [1, 0, 2]) : given!
    const [directions, rows, hidden] = r!.shape.map(Number)
    const biases = b ?? o.constantOfShape(o.ints(x, [directions, 2 * rows]), 0)
    const [time, batch] = [o.dimension(x, 0), o.dimension(x, 1)]
    const lengths = sizes ? o.cast(sizes, 'int64') : o.expand(time, batch)
    const wanted = [...Array(1 + cell.states).keys()].map((i) => (node.output[i] ?? '') !== '')
    if (sizes && wanted[2]) throw refuse('that gives its cell’s last state for rows of several lengths')
    const zeros = o.constantOfShape(o.concat([batch, o.ints(x, [hidden])], 0), 0) // (batch, hidden)
    const begins = wanted.slice(1).some(Boolean) || states.some(Boolean)
    const places = o.range(o.scalarLike(lengths, 0), o.squeeze(time, [0]), o.scalarLike(lengths, 1))
    const column = o.unsqueeze(places, [1]) // (time, 1)
    /** 1 where a condition on time and length holds: (time, batch, 1). */
    const where = (condition: Value) => o.unsqueeze(o.cast(condition, x.dtype), [2])

    const named = stringOf(node, 'direction', 'forward')
    const each = Array.from({ length: directions }, (_, at) => {
      const of = (all: Value) => o.squeeze(o.slice(all, [at], [at + 1], [0]), [0])
      const first = (state: Value | undefined) =>
        state ? o.squeeze(o.slice(state, [at], [at + 1], [batchFirst ? 1 : 0]), [batchFirst ? 1 : 0]) : zeros
      const backwards = named === 'reverse' || at === 1
      const turned = (value: Value) => (backwards ? o.reverseSequence(value, lengths) : value)
      const start = begins ? Array.from({ length: cell.states }, (_, i) => first(states[i])) : []
      const [y, ...finals] = recurrence(cell, turned(x), [of(w!), of(r!), of(biases)], start)
      const own = turned(y)
      if (!sizes) return [own, ...finals]
      const last = o.reduceSum(o.mul(y, where(o.equal(column, o.sub(lengths, 1)))), [0]) // (batch, hidden)
      return [o.mul(own, where(o.less(column, lengths))), last]
    })
    const stacked = (i: number, axis: number) =>
      o.concat(
        each.map((values) => o.unsqueeze(values[i], [axis])),
        axis,
      )
    const all = stacked(0, 1) // (time, directions, batch, hidden)
    const outputs = wanted.map((is, i) => {
      if (i === 0) return batchFirst ? o.transpose(all, [2, 0, 1, 3]) : all
      return is ? stacked(i, batchFirst ? 1 : 0) : zeros
    })
    return outputs.slice(0, node.output.length)
  }

export const recurrentNodes: Record<string, Rewrite> = Object.fromEntries(
  Object.values(cells).map((cell) => [cell.operator, apart(cell)]),
)
