import { fail } from '../base/errors.ts'
import { intOf } from '../graph/attributes.ts'
import type { Node, Region, Value } from '../graph/builder.ts'
import { operatorName } from '../graph/operators.ts'
import { scalarLike, sum, within, zerosLike } from '../graph/ops.ts'
import { rules } from './rules.ts'

type Step = { node: Node } | { region: Region }

/** The gradient of a table of which only some rows were used: row `indices[i]` gets the sum of its `rows[i]`. */
export interface RowGradient {
  /** int64 (…) */
  readonly indices: Value
  /** (…, width) */
  readonly rows: Value
}

/**
 * Adds the reverse-mode derivative of a scalar `loss` to its graph and returns the gradient of each of `wrt`, in its
 * shape. Throws GRADIENT_MISSING naming every operator on the way that has no rule, before anything is added.
 */
export function gradients(loss: Value, wrt: readonly Value[]): Value[] {
  return derive(loss, wrt, new Map()) as Value[]
}

/** As `gradients`, but matrices that are used by one `Gather` of rows alone get the gradients of those rows. */
export function sparseGradients(loss: Value, wrt: readonly Value[]): (Value | RowGradient)[] {
  const uses = Map.groupBy(
    loss.graph.nodes.flatMap((node) => node.inputs.map((input) => ({ input, node }))),
    ({ input }) => input?.name,
  )
  const tables = wrt.filter(({ name, shape }) => {
    const [use, ...others] = uses.get(name) ?? []
    return (
      shape.length === 2 && use && others.length === 0 && isRowGather(use.node) && use.node.inputs[0]?.name === name
    )
  })
  return derive(loss, wrt, new Map(tables.map((table) => [table.name, undefined])))
}

const isRowGather = ({ proto }: Node) => proto.opType === 'Gather' && intOf(proto, 'axis', 0) === 0

function derive(
  loss: Value,
  wrt: readonly Value[],
  tables: Map<string, RowGradient | undefined>,
): (Value | RowGradient)[] {
  const graph = loss.graph
  const steps = stepsBetween(loss, wrt)
  const missing = new Set(
    steps.flatMap((step) =>
      'node' in step && !rules[operatorName(step.node.proto)] ? [operatorName(step.node.proto)] : [],
    ),
  )
  if (missing.size > 0) throw fail('GRADIENT_MISSING', { operators: [...missing].sort().join(', ') })

  return within(graph, () => {
    const parts = new Map<string, Value[]>([[loss.name, [scalarLike(loss, 1)]]])
    const take = (value: Value): Value | undefined => {
      const found = parts.get(value.name)
      return found && sum(...found)
    }
    const give = (inputs: readonly (Value | undefined)[], flows: readonly (Value | undefined)[]) =>
      inputs.forEach((input, i) => {
        const flow = flows[i]
        if (input && flow) parts.set(input.name, [...(parts.get(input.name) ?? []), flow])
      })

    for (const step of steps.reverse()) {
      const { inputs, outputs } = 'node' in step ? step.node : step.region
      const flows = outputs.map(take)
      if (flows.every((flow) => flow === undefined)) continue
      if ('node' in step && inputs[0] && tables.has(inputs[0].name))
        tables.set(inputs[0].name, { indices: inputs[1]!, rows: flows[0]! })
      else if ('node' in step) give(inputs, rules[operatorName(step.node.proto)](step.node, flows))
      else give(inputs, step.region.gradient(flows))
    }
    return wrt.map((value) => tables.get(value.name) ?? take(value) ?? zerosLike(value))
  })
}

/** The nodes and regions through which `loss` depends on `wrt`, in the graph's order. */
function stepsBetween(loss: Value, wrt: readonly Value[]): Step[] {
  const { nodes, regions } = loss.graph
  const regionAt = new Map(regions.map((region) => [region.start, region]))
  const all: Step[] = []
  for (let i = 0; i < nodes.length; ) {
    const region = regionAt.get(i)
    all.push(region ? { region } : { node: nodes[i] })
    i = region ? region.end : i + 1
  }
  const parts = (step: Step) => ('node' in step ? step.node : step.region)

  const forward = new Set(wrt.map(({ name }) => name))
  const reached = all.filter((step) => {
    const { inputs, outputs } = parts(step)
    // a comparison or an index ends the way: nothing differentiable comes out
    const hit = inputs.some((input) => input && forward.has(input.name)) && outputs.some(differentiable)
    if (hit) for (const output of outputs.filter(differentiable)) forward.add(output.name)
    return hit
  })
  const backward = new Set([loss.name])
  return reached
    .reverse()
    .filter((step) => {
      const hit = parts(step).outputs.some((output) => backward.has(output.name))
      if (hit) for (const input of parts(step).inputs) if (input) backward.add(input.name)
      return hit
    })
    .reverse()
}

/** Gradients flow through floating-point values only. */
const differentiable = ({ dtype }: Value) => dtype.startsWith('float') || dtype === 'bfloat16'
