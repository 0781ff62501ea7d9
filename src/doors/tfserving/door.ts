import { fail } from '../../base/errors.ts'
import { type Static, Type } from '../../base/schema.ts'
import type { DataType } from '../../graph/dtype.ts'
import type { Version } from '../../registry/registry.ts'
import { callerOf, findModel } from '../ask.ts'
import type { Door } from '../door.ts'
import { type House, type Route, route } from '../route.ts'
import { type Slot, viewOf } from '../views.ts'
import { classify, predict } from './predict.ts'

const tag = 'tensorflow serving'
const Body = Type.Object({
  signature_name: Type.Optional(Type.String()),
  instances: Type.Optional(Type.Unknown()),
  inputs: Type.Optional(Type.Unknown()),
  examples: Type.Optional(Type.Array(Type.Record(Type.String(), Type.Unknown()), { minItems: 1 })),
  context: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})
export type PredictBody = Static<typeof Body>

const names: Partial<Record<DataType, string>> = {
  float32: 'DT_FLOAT',
  float64: 'DT_DOUBLE',
  float16: 'DT_HALF',
  bfloat16: 'DT_BFLOAT16',
  string: 'DT_STRING',
  bool: 'DT_BOOL',
}
const typeName = (dtype: DataType) => names[dtype] ?? `DT_${dtype.toUpperCase()}`

const describe = ({ name, dtype, shape }: Slot) => ({
  name: `${name}:0`,
  dtype: typeName(dtype),
  tensor_shape: { dim: shape.map((size) => ({ size: String(size), name: '' })), unknown_rank: false },
})

function metadata(version: Version) {
  const view = viewOf(version)
  const described = (slots: Slot[]) => Object.fromEntries(slots.map((slot) => [slot.name, describe(slot)]))
  const signature = {
    inputs: described(view.inputs(version.manifest)),
    outputs: described(view.outputs(version.manifest)),
    method_name: 'tensorflow/serving/predict',
  }
  return {
    model_spec: { name: version.name, signature_name: '', version: String(version.version) },
    metadata: { signature_def: { signature_def: { serving_default: signature } } },
  }
}

const available = (version: number) => ({
  version: String(version),
  state: 'AVAILABLE', // loaded when first asked for
  status: { error_code: 'OK', error_message: '' },
})

/** A place of a model: the newest version, one by number, or one by label (an alias). */
const places = ['', '/versions/:version', '/labels/:version'].map((rest) => `/tfserving/v1/models/:model${rest}`)
const Named = Type.Object({ model: Type.String(), version: Type.Optional(Type.String()) })
const refOf = ({ model, version }: { model: string; version?: string }) =>
  version === undefined ? model : `${model}@${version}`

/** `name:verb` is one segment of the path. */
function verbOf(segment: string): [name: string, verb: string] {
  const at = segment.lastIndexOf(':')
  return at < 0 ? [segment, ''] : [segment.slice(0, at), segment.slice(at + 1)]
}

const verbs: Record<string, (...of: Parameters<typeof predict>) => Promise<object>> = { predict, classify }

async function act(
  house: House,
  params: { model: string; version?: string },
  body: PredictBody,
  call: Pick<Parameters<Route['handle']>[1], 'request' | 'reply'>,
) {
  const last = params.version === undefined ? 'model' : 'version'
  const [rest, verb] = verbOf(params[last]!)
  const run = verbs[verb]
  if (!run)
    throw fail('BAD_REQUEST', {
      message: `expected :predict or :classify after the model, got ":${verb.slice(0, 40)}"`,
    })
  const version = await findModel(house, refOf({ ...params, [last]: rest }))
  const signature = body.signature_name ?? 'serving_default'
  if (signature !== 'serving_default' && signature !== '')
    throw fail('BAD_REQUEST', {
      message: `signature_name: the only signature is "serving_default", got "${signature.slice(0, 80)}"`,
    })
  return run(callerOf('tfserving', house, call), version, body)
}

const routes = places.flatMap((path) => [
  route(
    `GET ${path}`,
    { summary: 'Status of a model', permission: 'read', tag },
    { params: Named },
    async (house, { params }) => {
      const { name, version } = await findModel(house, refOf(params))
      if (params.version !== undefined) return { model_version_status: [available(version)] }
      return { model_version_status: (await house.registry.versions(name)).map((one) => available(one.version)) }
    },
  ),
  route(
    `GET ${path}/metadata`,
    { summary: 'Signature of a model', permission: 'read', tag },
    { params: Named },
    async (house, { params }) => metadata(await findModel(house, refOf(params))),
  ),
  route(
    `POST ${path}`,
    { summary: 'Predict or classify (…:predict, …:classify)', permission: 'use', tag },
    { params: Named, body: Body },
    async (house, call) => act(house, call.params, call.body, call),
  ),
])

/** TensorFlow Serving's REST API, version 1. */
export const tfserving: Door = {
  name: 'tfserving',
  prefixes: ['/tfserving'],
  routes,
  failure: ({ message, hint }) => ({ body: { error: `${message}. ${hint}` } }),
  looseJson: true,
  ownPort: { mount: '/tfserving', owns: /^\/v1\// },
}
