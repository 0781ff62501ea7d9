import { fail } from '../../base/errors.ts'
import { type Static, Type } from '../../base/schema.ts'
import { version as code } from '../../base/version.ts'
import { callerOf, findModel } from '../ask.ts'
import type { Door } from '../door.ts'
import { nested, tensorFrom } from '../nested.ts'
import { route } from '../route.ts'
import { rowsOf } from '../tfserving/predict.ts'
import { runView, type Slot, viewOf } from '../views.ts'
import { artifactRoutes } from './artifacts.ts'
import { loggedModelRoutes } from './logged-models.ts'
import { mlflowRegistryRoutes } from './registry.ts'
import { trackingRoutes } from './tracking.ts'

const tag = 'mlflow'
const ByModel = Type.Object({ model: Type.String() })
const Row = Type.Record(Type.String(), Type.Unknown())
const Body = Type.Object({
  dataframe_split: Type.Optional(
    Type.Object({
      columns: Type.Array(Type.Union([Type.String(), Type.Number()])),
      data: Type.Array(Type.Array(Type.Unknown())),
    }),
  ),
  dataframe_records: Type.Optional(Type.Array(Row)),
  instances: Type.Optional(Type.Unknown()),
  inputs: Type.Optional(Type.Unknown()),
  params: Type.Optional(Type.Union([Row, Type.Null()])),
})

type Columns = Record<string, unknown[]>
const bad = (message: string) => fail('BAD_REQUEST', { message })
const kinds = ['dataframe_split', 'dataframe_records', 'instances', 'inputs'] as const

/** A table by columns, from whichever of its two forms. */
function columnsOf({ dataframe_split: split, dataframe_records: records }: Static<typeof Body>): Columns | undefined {
  if (split) {
    const short = split.data.findIndex((row) => row.length !== split.columns.length)
    if (short >= 0)
      throw bad(
        `dataframe_split.data[${short}]: expected ${split.columns.length} values, got ${split.data[short].length}`,
      )
    return Object.fromEntries(split.columns.map((name, i) => [String(name), split.data.map((row) => row[i])]))
  }
  if (!records) return undefined
  const names = Object.keys(records[0] ?? {})
  return Object.fromEntries(
    names.map((name) => [
      name,
      records.map((record, row) => {
        if (!(name in record)) throw bad(`dataframe_records[${row}]: no value for "${name.slice(0, 80)}"`)
        return record[name]
      }),
    ]),
  )
}

/** Columns as inputs of those names; a model with one input takes the whole table as its rows. */
function inputsOf(columns: Columns, slots: readonly Slot[]): Record<string, unknown> {
  const [slot] = slots
  const named = slots.every(({ name }) => name in columns)
  if (named || slots.length > 1) return columns
  const lists = Object.values(columns)
  if (slot.shape.length <= 1) {
    if (lists.length !== 1) throw bad(`expected one column, got ${lists.length}`)
    return { [slot.name]: lists[0] }
  }
  return { [slot.name]: (lists[0] ?? []).map((_, row) => lists.map((list) => list[row])) }
}

const routes = [
  route(
    'POST /mlflow/:model/invocations',
    { summary: 'Score a table or tensors', permission: 'use', tag },
    { params: ByModel, body: Body },
    async (house, call) => {
      const { body, params } = call
      const given = kinds.filter((kind) => body[kind] !== undefined)
      if (given.length !== 1)
        throw bad(`expected exactly one of ${kinds.join(', ')}; got ${given.join(', ') || 'none'}`)
      const version = await findModel(house, params.model)
      const { name, manifest } = version
      const slots = viewOf(version).inputs(manifest)
      const columns = columnsOf(body)
      const value = columns ? inputsOf(columns, slots) : (body.instances ?? body.inputs)
      const named =
        typeof value === 'object' && value !== null && !Array.isArray(value)
          ? (value as Record<string, unknown>)
          : slots.length === 1
            ? { [slots[0].name]: value }
            : undefined
      if (!named) throw bad(`the model has several inputs, name them: ${slots.map((slot) => slot.name).join(', ')}`)
      const tensors = Object.fromEntries(
        Object.entries(named).map(([input, values]) => {
          const slot = slots.find((one) => one.name === input) ?? { name: input, dtype: 'float32' as const, shape: [] }
          return [input, tensorFrom(values, slot, `${given[0]}.${input.slice(0, 80)}`, name)]
        }),
      )
      const { tensors: outputs } = await runView(callerOf('mlflow', house, call), version, tensors)
      if (manifest.task !== 'tensor') {
        const count = Object.values(outputs)[0].dims[0]
        const { probabilities: _, ...shown } = outputs
        return { predictions: rowsOf(shown, count, name) }
      }
      const lists = Object.entries(outputs).map(([output, tensor]) => [output, nested(tensor)])
      return { predictions: lists.length === 1 ? lists[0][1] : Object.fromEntries(lists) }
    },
  ),
  ...(['ping', 'health'] as const).map((path) =>
    route(
      `GET /mlflow/:model/${path}`,
      { summary: 'Whether the model can be used', permission: 'read', tag },
      { params: ByModel },
      async (house, { params, reply }) => {
        await findModel(house, params.model)
        reply.type('text/plain')
        return '\n'
      },
    ),
  ),
  route(
    'GET /mlflow/:model/version',
    { summary: 'Version of the server', permission: 'read', tag },
    { params: ByModel },
    async (house, { params, reply }) => {
      await findModel(house, params.model)
      reply.type('text/plain')
      return code
    },
  ),
]

const errorCodes: Record<number, string> = {
  400: 'BAD_REQUEST',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'RESOURCE_DOES_NOT_EXIST',
  429: 'REQUEST_LIMIT_EXCEEDED',
  503: 'TEMPORARILY_UNAVAILABLE',
}

/**
 * MLflow: its scoring protocol, a model each, as one such server serves; and the part of its tracking and registry that its
 * clients log, register and load ONNX models with.
 */
export const mlflow: Door = {
  name: 'mlflow',
  prefixes: ['/mlflow', '/api/2.0/mlflow', '/api/2.0/mlflow-artifacts'],
  routes: [...routes, ...trackingRoutes, ...loggedModelRoutes, ...mlflowRegistryRoutes, ...artifactRoutes],
  anyType: /^\/api\/2\.0\/mlflow-artifacts\/artifacts\//,
  failure: ({ code, status, message, hint }) => ({
    ...(code === 'ALREADY_EXISTS' && { status: 400 }),
    body: {
      error_code:
        code === 'ALREADY_EXISTS'
          ? 'RESOURCE_ALREADY_EXISTS'
          : (errorCodes[status] ?? (status < 500 ? 'BAD_REQUEST' : 'INTERNAL_ERROR')),
      message: `${message}. ${hint}`,
    },
  }),
  ownPort: { mount: '/mlflow/:model', owns: /^\/(invocations|ping|version|health)$/ },
}
