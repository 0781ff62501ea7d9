import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import { version as code } from '../../base/version.ts'
import { dataTypes } from '../../graph/dtype.ts'
import { binaryOf } from '../../graph/octets.ts'
import { countOf, flattenNumbers, toValues } from '../../graph/values.ts'
import type { Version } from '../../registry/registry.ts'
import { type Caller, callerOf, findModel } from '../ask.ts'
import { route } from '../route.ts'
import { type Answer, type Given, runView } from '../views.ts'
import { splitBinary } from './binary.ts'
import { repositoryIndex, statisticsOf } from './repository.ts'
import { settingsFrom } from './settings.ts'
import { dtypeOf, fromBinary, fromStrings, invalid, modelConfig, modelMetadata, wantedOutputs } from './tensors.ts'

/** The Open Inference Protocol, version 2, over REST (KServe's and Triton's), as pure translations of a signature. */
export const extensions = ['classification', 'binary_tensor_data', 'model_repository', 'statistics', 'generate']
const tag = 'open inference protocol'

interface InferTensor {
  name: string
  shape: number[]
  datatype: string
  parameters?: Record<string, unknown>
  data?: unknown
}
export interface InferRequest {
  id?: string
  parameters?: Record<string, unknown>
  inputs: InferTensor[]
  outputs?: { name: string; parameters?: Record<string, unknown> }[]
}

const Parameters = Type.Optional(Type.Record(Type.String(), Type.Unknown()))
const InferBody = Type.Object({
  id: Type.Optional(Type.String({ maxLength: 200 })),
  parameters: Parameters,
  inputs: Type.Array(
    Type.Object({
      name: Type.String(),
      shape: Type.Array(Type.Integer({ minimum: 0 }), { maxItems: 64 }),
      datatype: Type.String(),
      parameters: Parameters,
      data: Type.Optional(Type.Unknown()),
    }),
    { minItems: 1, maxItems: 256 },
  ),
  outputs: Type.Optional(Type.Array(Type.Object({ name: Type.String(), parameters: Parameters }), { maxItems: 256 })),
})

/** A request's input, from JSON or from the binary part. */
function readInput(input: InferTensor, binary: Uint8Array | undefined, raw: boolean, version: Version): Given {
  const { name, shape: dims } = input
  const model = version.name
  const where = `inputs.${name.slice(0, 80)}`
  const dtype = dtypeOf(input.datatype, where, model)
  if (binary) {
    const place = { name, dtype, dims, count: countOf(dims, where, model), version }
    return raw && dtype === 'string' ? fromStrings([binary], place) : fromBinary(binary, place)
  }
  if (!Array.isArray(input.data))
    throw invalid(`${where}.data: expected a list, or binary_data_size and binary data`, model)
  return flattenNumbers(input.data, dims, dtype, where, model)
}

/** The response, as JSON and the binary parts that follow it in order. */
function writeResponse(request: InferRequest, answer: Answer) {
  const { model, version } = answer
  const wanted = request.outputs?.map(({ name, parameters }) => ({ name, parameters: parameters ?? {} }))
  const parts: Uint8Array[] = []
  const outputs = wantedOutputs(answer, wanted).map(({ name, parameters, tensor }) => {
    const head = { name, datatype: dataTypes[tensor.dtype].oip, shape: tensor.dims }
    // a setting of the output itself goes before that of the request
    const asBinary = parameters.binary_data ?? request.parameters?.binary_data_output ?? false
    if (asBinary === true) {
      const bytes = binaryOf(tensor)
      parts.push(bytes)
      return { ...head, parameters: { binary_data_size: bytes.byteLength } }
    }
    if (tensor.dtype === 'float16' || tensor.dtype === 'bfloat16')
      throw invalid(`outputs.${name}: ${head.datatype} can only be sent as binary data`, model)
    return { ...head, data: toValues(tensor) }
  })
  return {
    json: {
      model_name: model,
      model_version: String(version),
      ...(request.id !== undefined && { id: request.id }),
      outputs,
    },
    parts,
  }
}

async function infer(caller: Caller, version: Version, body: InferRequest) {
  const { request, parts, raw } = splitBinary(body, version)
  const names = request.inputs.map((input) => input.name)
  if (new Set(names).size !== names.length) throw invalid('inputs: two of one name', version.name)
  const tensors = Object.fromEntries(
    request.inputs.map((input) => [input.name, readInput(input, parts.get(input.name), raw, version)]),
  )
  return runView(caller, version, tensors, settingsFrom(request.parameters))
}

const Named = Type.Object({ model: Type.String() })
const Versioned = Type.Object({ model: Type.String(), version: Type.String() })
const refOf = ({ model, version }: { model: string; version?: string }) =>
  version === undefined ? model : `${model}@${version}`

const places = [
  ['/v2/models/:model', Named],
  ['/v2/models/:model/versions/:version', Versioned],
] as const

const perModel = places.flatMap(([path, params]) => [
  route(
    `GET ${path}`,
    { summary: 'Model metadata', permission: 'read', tag },
    { params },
    async (house, { params }) => {
      const version = await findModel(house, refOf(params))
      const versions = (await house.registry.versions(version.name)).map((one) => one.version)
      return modelMetadata(version, versions)
    },
  ),
  route(
    `GET ${path}/ready`,
    { summary: 'Whether a model can be used', permission: 'read', tag },
    { params },
    async (house, { params }) => {
      const { name } = await findModel(house, refOf(params))
      return { name, ready: true } // loaded on demand
    },
  ),
  route(
    `GET ${path}/stats`,
    { summary: 'Statistics of a model', permission: 'read', tag },
    { params },
    async (house, { params }) => ({ model_stats: await statisticsOf(house, refOf(params)) }),
  ),
  route(
    `GET ${path}/config`,
    { summary: 'Configuration of a model, as Triton has it', permission: 'read', tag },
    { params },
    async (house, { params }) => modelConfig(await findModel(house, refOf(params))),
  ),
  route(
    `POST ${path}/infer`,
    { summary: 'Run inference', permission: 'use', tag },
    { params, body: InferBody },
    async (house, { params, body, request, reply }) => {
      const version = await findModel(house, refOf(params))
      const caller = callerOf('oip', house, { request, reply })
      const { json, parts } = writeResponse(body, await infer(caller, version, body))
      if (parts.length === 0) return json
      const head = Buffer.from(JSON.stringify(json))
      reply.header('inference-header-content-length', head.byteLength).type('application/octet-stream')
      return Buffer.concat([head, ...parts])
    },
  ),
])

export const oipRoutes = [
  route('GET /v2', { summary: 'Server metadata', permission: 'read', tag }, {}, async () => ({
    name: 'athanor',
    version: code,
    extensions,
  })),
  route('GET /v2/health/live', { summary: 'The server answers', permission: 'public', tag }, {}, async () => ({
    live: true,
  })),
  route(
    'GET /v2/health/ready',
    { summary: 'The server can take requests', permission: 'public', tag },
    {},
    async () => ({
      live: true,
      ready: true,
    }),
  ),
  route('GET /v2/models', { summary: 'Names of the models', permission: 'read', tag }, {}, async ({ registry }) => ({
    models: (await registry.list()).map(({ name }) => name),
  })),
  route(
    'GET /v2/models/stats',
    { summary: 'Statistics of every model', permission: 'read', tag },
    {},
    async (house) => ({ model_stats: await statisticsOf(house) }),
  ),
  ...perModel,
  route(
    'POST /v2/repository/index',
    { summary: 'List models and versions', permission: 'read', tag },
    { body: Type.Optional(Type.Object({ ready: Type.Optional(Type.Boolean()) })) },
    async (house, { body }) => (await repositoryIndex(house)).filter(({ state }) => !body?.ready || state === 'READY'),
  ),
  ...(['load', 'unload'] as const).map((action) =>
    route(
      `POST /v2/repository/models/:model/${action}`,
      {
        summary: action === 'load' ? 'Start the engine of a model' : 'End the engine of a model',
        permission: 'write',
        tag,
      },
      { params: Named, body: Type.Optional(Type.Object({ parameters: Parameters })) },
      async (house, { params, body }) => {
        const given = Object.keys(body?.parameters ?? {}).filter((key) => key !== 'unload_dependents')
        if (given.length > 0)
          throw fail('UNSUPPORTED', {
            what: `the parameter "${given[0].slice(0, 40)}"`,
            instead: 'Register versions by POST /api/models/:name/versions.',
          })
        await findModel(house, params.model)
        await house.deployments[action](params.model)
        return {}
      },
    ),
  ),
]
