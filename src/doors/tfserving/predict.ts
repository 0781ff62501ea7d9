import { fail } from '../../base/errors.ts'
import type { Tensor } from '../../graph/dtype.ts'
import type { Version } from '../../registry/registry.ts'
import { askRef } from '../../serve/deployments.ts'
import * as ask from '../ask.ts'
import { nested, tensorFrom } from '../nested.ts'
import { runView, type Slot, viewOf } from '../views.ts'
import type { PredictBody } from './door.ts'

const isNamed = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !('b64' in value)

const bad = (message: string) => fail('BAD_REQUEST', { message })

/** One value for the one input, or a value for each by name. */
function byName(value: unknown, slots: readonly Slot[], where: string, model: string): Record<string, unknown> {
  if (isNamed(value)) return value
  if (slots.length === 1) return { [slots[0].name]: value }
  const names = slots.map(({ name }) => name).join(', ')
  throw fail('TENSOR_INVALID', { message: `${where}: the model has several inputs, name them: ${names}`, model })
}

/** Rows, each an instance: values of one input, or objects of all inputs. */
function columnsOf(instances: unknown[], slots: readonly Slot[], model: string): Record<string, unknown[]> {
  const columns: Record<string, unknown[]> = Object.create(null)
  const names = Object.keys(byName(instances[0], slots, 'instances[0]', model))
  instances.forEach((instance, row) => {
    const given = byName(instance, slots, `instances[${row}]`, model)
    if (Object.keys(given).length !== names.length || names.some((name) => !(name in given)))
      throw fail('TENSOR_INVALID', { message: `instances[${row}]: expected the inputs ${names.join(', ')}`, model })
    for (const name of names) {
      columns[name] ??= []
      columns[name].push(given[name])
    }
  })
  return columns
}

function tensorsOf(values: Record<string, unknown>, slots: readonly Slot[], where: string, model: string) {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      // a name that the model does not have is told by the check of the signature
      const slot = slots.find((one) => one.name === name) ?? { name, dtype: 'float32' as const, shape: [] }
      return [name, tensorFrom(value, slot, `${where}.${name.slice(0, 80)}`, model)]
    }),
  )
}

const only = <T>(values: Record<string, T>): T | undefined => {
  const all = Object.values(values)
  return all.length === 1 ? all[0] : undefined
}

/** Predictions in row format (`instances`) or column format (`inputs`). */
export async function predict(caller: ask.Caller, version: Version, { instances, inputs }: PredictBody) {
  if ((instances === undefined) === (inputs === undefined)) throw bad('expected either "instances" or "inputs"')
  const { name, manifest } = version
  const slots = viewOf(version).inputs(manifest)
  if (inputs !== undefined) {
    const { tensors } = await runView(
      caller,
      version,
      tensorsOf(byName(inputs, slots, 'inputs', name), slots, 'inputs', name),
    )
    const lists = Object.fromEntries(Object.entries(tensors).map(([output, tensor]) => [output, nested(tensor)]))
    return { outputs: only(lists) ?? lists }
  }
  if (!Array.isArray(instances) || instances.length === 0) throw bad('instances: expected a list of at least one')
  const columns = columnsOf(instances, slots, name)
  const { tensors } = await runView(caller, version, tensorsOf(columns, slots, 'instances', name))
  return { predictions: rowsOf(tensors, instances.length, name) }
}

/** Outputs row by row; each must have a row for every instance. Throws BAD_REQUEST. */
export function rowsOf(tensors: Record<string, Tensor>, count: number, model: string): unknown[] {
  const lists = Object.entries(tensors).map(([output, tensor]) => {
    if (tensor.dims[0] !== count)
      throw bad(`the output "${output}" of "${model}" has no row for each instance: use "inputs"`)
    return [output, nested(tensor) as unknown[]] as const
  })
  const [first] = lists
  return Array.from({ length: count }, (_, row) =>
    lists.length === 1 ? first[1][row] : Object.fromEntries(lists.map(([output, rows]) => [output, rows[row]])),
  )
}

/** For each example its labels with scores, best first. */
export async function classify(caller: ask.Caller, version: Version, { examples, context = {} }: PredictBody) {
  if (!examples) throw bad('expected "examples"')
  const texts = examples.map((example, i) => {
    const { text } = { ...context, ...example }
    const value = Array.isArray(text) ? text[0] : text
    if (typeof value !== 'string') throw bad(`examples[${i}].text: expected a string`)
    return value
  })
  const { ranked } = await ask.classify(caller, askRef(version), texts)
  return { result: ranked.map((scores) => scores.map(({ label, score }) => [label, score])) }
}
