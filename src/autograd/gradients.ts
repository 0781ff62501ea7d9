import { fail } from '../base/errors.ts'
import type { Node, Region, Value } from '../graph/builder.ts'
import { operatorName } from '../graph/operators.ts'
import { scalarLike, sum, within, zerosLike } from '../graph/ops.ts'
import { rules } from './rules.ts'

type Step = { node: Node } | { region: Region }

/**
 * Adds the reverse-mode derivative of a scalar `loss` to its graph and returns the gradient of each of `wrt`, in its
 * shape. Throws GRADIENT_MISSING naming every operator on the way that has no rule, before anything is added.
 */
export function gradients(loss: Value, wrt: readonly Value[]): Value[] {
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
      if ('node' in step) give(inputs, rules[operatorName(step.node.proto)](step.node, flows))
      else give(inputs, step.region.gradient(flows))
    }
    return wrt.map((value) => take(value) ?? zerosLike(value))
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
