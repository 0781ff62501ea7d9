import { fail } from '../../base/errors.ts'
import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import {
  bodyOf,
  evaluate,
  type Flow,
  type Frame,
  functionOf,
  type Item,
  type ListItem,
  tensorIn,
  valueItem,
} from './flow.ts'
import type { NodeDef } from './gen/tensorflow_pb.js'

/** What a variable of a loop is, found in how its body makes the next from it. */
type Role =
  | { kind: 'same' }
  | { kind: 'counter' }
  | { kind: 'written'; item: string; last: boolean }
  | { kind: 'state' }

/**
 * A `While` that walks over the rows of lists, as Keras writes recurrent layers, as ONNX's Scan: lists are read at the loop's
 * counter (TensorListGetItem) and written at it or at 0 (TensorListSetItem), and it runs once for each row. Throws UNSUPPORTED
 * for any other loop.
 */
export function readLoop(flow: Flow, frame: Frame, node: NodeDef, inputs: readonly Item[]): Item[] {
  const refuse = (why: string) =>
    fail('UNSUPPORTED', {
      what: `the loop "${node.name.slice(0, 120)}" of a TensorFlow graph`,
      instead: `${why} Save the model from Keras as .keras and import that.`,
    })
  const name = functionOf(node, 'body')
  const outline = bodyOf(flow, frame, name, inputs, frame.graph)
  const { nodes } = outline.frame
  const origin = (reference: string): string => {
    let at = reference.split(':')[0]
    for (let i = 0; i < 100; i++) {
      const found = nodes.get(at)
      if (found?.op !== 'Identity') break
      at = found.input[0].split(':')[0]
    }
    return at
  }
  const roles = inputs.map((item, i): Role => {
    const own = outline.arguments[i]
    const from = origin(outline.outputs[i])
    if (from === own) return { kind: 'same' }
    const made = nodes.get(from)
    if (item.kind === 'list') {
      if (made?.op !== 'TensorListSetItem' || origin(made.input[0]) !== own)
        throw refuse('A list is not written item by item.')
      return { kind: 'written', item: made.input[2], last: !isCounter(origin(made.input[1])) }
    }
    return isCounter(own) ? { kind: 'counter' } : { kind: 'state' }
  })

  /** Whether an argument grows by one each round. */
  function isCounter(argument: string): boolean {
    const i = outline.arguments.indexOf(argument)
    const item = inputs[i]
    if (item?.kind !== 'value' || item.value.shape.length > 0 || item.value.ints?.[0] !== 0) return false
    const made = nodes.get(origin(outline.outputs[i]))
    if (made?.op !== 'AddV2' && made?.op !== 'Add') return false
    const [a, b] = made.input.map(origin)
    const one = nodes.get(a === argument ? b : a)
    const [step] = one?.op === 'Const' ? evaluate(flow, outline.frame, [one.name]) : []
    return (a === argument || b === argument) && step?.kind === 'value' && step.value.ints?.[0] === 1
  }

  const scanned = inputs.flatMap((item, i) =>
    roles[i].kind === 'same' && item.kind === 'list' && item.rows ? [i] : [],
  )
  const rows = scanned.map((i) => (inputs[i] as Required<ListItem>).rows)
  if (rows.length === 0) throw refuse('It reads no list.')
  for (const { op, input } of nodes.values()) {
    if (op === 'TensorListGetItem' && !isCounter(origin(input[1])))
      throw refuse('It reads a list elsewhere than at its counter.')
  }
  if (!runsOnceARow(flow, frame, functionOf(node, 'cond'), inputs, rows[0]))
    throw refuse('How often it runs cannot be told.')

  const states = inputs.flatMap((_, i) => (roles[i].kind === 'state' ? [i] : []))
  const written = roles.flatMap((role) => (role.kind === 'written' ? [role] : []))
  const results = o.within(frame.graph, () =>
    o.scan(
      states.map((i) => tensorIn(inputs[i], node)),
      rows,
      (now, slices) => {
        const graph = [...now, ...slices][0].graph
        const given = inputs.map((item, i): Item => {
          if (states.includes(i)) return valueItem(now[states.indexOf(i)])
          if (roles[i].kind === 'counter') return { kind: 'nothing' } // of use for nothing but the lists
          // a list's name leads to its row
          return scanned.includes(i) ? valueItem(slices[scanned.indexOf(i)]) : item
        })
        const body = bodyOf(flow, frame, name, given, graph)
        for (const one of nodes.values()) {
          if (one.op !== 'TensorListGetItem') continue
          const at = outline.arguments.indexOf(origin(one.input[0]))
          body.frame.results.set(one.name, [given[at]])
        }
        const next = evaluate(
          flow,
          body.frame,
          states.map((i) => outline.outputs[i]),
        )
        const items = evaluate(
          flow,
          body.frame,
          written.map(({ item }) => item),
        )
        const values = (all: Item[]): Value[] => all.map((item) => tensorIn(item, node))
        return { states: values(next), outputs: values(items) }
      },
    ),
  )
  return inputs.map((item, i): Item => {
    const role = roles[i]
    if (role.kind === 'state') return valueItem(results.states[states.indexOf(i)])
    if (role.kind !== 'written') return role.kind === 'same' ? item : { kind: 'nothing' }
    const all = results.outputs[written.indexOf(role)]
    return { kind: 'list', rows: role.last ? o.slice(all, [-1], [2 ** 31 - 1], [0]) : all }
  })
}

/** Whether the condition compares counters with nothing but the number of rows. */
function runsOnceARow(flow: Flow, frame: Frame, name: string, inputs: readonly Item[], rows: Value): boolean {
  const { frame: inner, outputs, arguments: names } = bodyOf(flow, frame, name, inputs, frame.graph)
  const open = [...outputs]
  let compared = 0
  while (open.length > 0) {
    const node = inner.nodes.get(open.pop()!.split(':')[0])
    if (node?.op === 'Identity' || node?.op === 'LogicalAnd') open.push(...node.input)
    else if (node?.op === 'Less' && names.includes(node.input[0])) {
      const [bound] = evaluate(flow, inner, [node.input[1]])
      if (bound.kind !== 'value' || bound.value.ints?.[0] !== rows.shape[0]) return false
      compared++
    } else return false
  }
  return compared > 0
}
