import { Type } from 'typebox'
import { type AthanorError, fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type DataType, dataTypes, type Tensor } from '../graph/dtype.ts'
import type { Version } from '../registry/registry.ts'
import { type Prediction, rank } from '../serve/deployments.ts'
import { countOf, flattenNumbers, toValues } from './data.ts'
import { binaryOf, splitBinary, tensorFromBinary } from './oip-binary.ts'
import { counted } from './predict.ts'
import { abortWith, type House, route } from './route.ts'

/** The Open Inference Protocol, version 2, over REST (KServe's and Triton's), as pure translations of a signature. */
const extensions = ['classification', 'binary_tensor_data', 'model_repository', 'statistics']
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

const typeByName = new Map(Object.entries(dataTypes).map(([dtype, { oip }]) => [oip as string, dtype as DataType]))
const invalid = (message: string, model: string) => fail('TENSOR_INVALID', { message, model })

export const oipError = ({ message, hint }: AthanorError) => ({ error: `${message}. ${hint}` })

/** How a classifier of texts looks to this protocol. */
const textInputs = [{ name: 'text', datatype: 'BYTES', shape: [-1] }]
const textOutputs = (labels: readonly string[]) => [
  { name: 'label', datatype: 'BYTES', shape: [-1] },
  { name: 'score', datatype: 'FP32', shape: [-1] },
  { name: 'probabilities', datatype: 'FP32', shape: [-1, labels.length] },
]

function modelMetadata({ name, manifest }: Pick<Version, 'name' | 'manifest'>, versions: number[]) {
  const describe = (spec: Manifest['signature']['inputs'][number]) => ({
    name: spec.name,
    datatype: dataTypes[spec.dtype as DataType]?.oip ?? spec.dtype,
    shape: spec.shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  })
  const text = manifest.task === 'text-classification'
  return {
    name,
    versions: versions.map(String),
    platform: 'onnx_onnxv1',
    inputs: text ? textInputs : manifest.signature.inputs.map(describe),
    outputs: text ? textOutputs(manifest.labels) : manifest.signature.outputs.map(describe),
  }
}

/** A request's input as a tensor, from JSON or from the binary part. */
function readTensor(input: InferTensor, binary: Uint8Array | undefined, model: string): Tensor {
  const where = `inputs.${input.name.slice(0, 80)}`
  const dtype = typeByName.get(input.datatype)
  if (!dtype)
    throw invalid(
      `${where}.datatype: "${input.datatype.slice(0, 40)}" is not one of ${[...typeByName.keys()].join(', ')}`,
      model,
    )
  const count = countOf(input.shape, where, model)
  if (binary)
    return tensorFromBinary(binary, dtype, input.shape, count, (message) => invalid(`${where}: ${message}`, model))
  if (!Array.isArray(input.data))
    throw invalid(`${where}.data: expected a list, or binary_data_size and binary data`, model)
  return flattenNumbers(input.data, input.shape, dtype, where, model)
}

/** The answer's tensors: label, score and probabilities of a classifier, or a graph's outputs. */
function outputTensors({ manifest, output }: Pick<Prediction, 'manifest' | 'output'>): Record<string, Tensor> {
  if (output.kind === 'tensors') return output.outputs
  const { labels } = manifest
  const rows = output.probabilities.length / labels.length
  const best = Array.from({ length: rows }, (_, row) => rank(manifest, output.probabilities, row, 1)[0])
  return {
    label: { dtype: 'string', dims: [rows], data: best.map(({ label }) => label) },
    score: { dtype: 'float32', dims: [rows], data: Float32Array.from(best, ({ score }) => score) },
    probabilities: { dtype: 'float32', dims: [rows, labels.length], data: output.probabilities },
  }
}

/** Triton's classification extension: for each row the k best as `value:index[:label]`. */
function classify(tensor: Tensor, k: number, labels: readonly string[]): Tensor {
  const classes = tensor.dims.at(-1) ?? 1
  const data = tensor.data as Float32Array
  const rows = data.length / classes
  const top = Math.min(k, classes)
  const texts = Array.from({ length: rows }, (_, row) => {
    const values = Array.from({ length: classes }, (_, i) => [Number(data[row * classes + i]), i] as const)
    values.sort((a, b) => b[0] - a[0] || a[1] - b[1])
    return values.slice(0, top).map(([value, i]) => `${value}:${i}${labels[i] === undefined ? '' : `:${labels[i]}`}`)
  })
  return { dtype: 'string', dims: [...tensor.dims.slice(0, -1), top], data: texts.flat() }
}

/** The response, as JSON and the binary parts that follow it in order. */
function writeResponse(
  request: InferRequest,
  prediction: Pick<Prediction, 'model' | 'version' | 'manifest' | 'output'>,
) {
  const { model, version, manifest } = prediction
  const tensors = outputTensors(prediction)
  const wanted = request.outputs ?? Object.keys(tensors).map((name) => ({ name, parameters: undefined }))
  const parts: Uint8Array[] = []
  const outputs = wanted.map(({ name, parameters }) => {
    const found = tensors[name]
    if (!found)
      throw invalid(
        `outputs: the model has no output "${name.slice(0, 80)}"; it has ${Object.keys(tensors).join(', ')}`,
        model,
      )
    const k = Number(parameters?.classification ?? 0)
    const tensor = k > 0 && found.dtype !== 'string' ? classify(found, k, manifest.labels) : found
    const head = { name, datatype: dataTypes[tensor.dtype].oip, shape: tensor.dims }
    // a setting of the output itself goes before that of the request
    const asBinary = parameters?.binary_data ?? request.parameters?.binary_data_output ?? false
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

async function infer(
  house: House,
  ref: string,
  request: InferRequest,
  binary: Map<string, Uint8Array>,
  requestId: string,
  signal: AbortSignal,
) {
  const { manifest, name } = await house.deployments.resolve(ref)
  return counted(house, 'oip', ref, requestId, async () => {
    const names = request.inputs.map((input) => input.name)
    if (new Set(names).size !== names.length) throw invalid('inputs: two of one name', name)
    const tensors = Object.fromEntries(
      request.inputs.map((input) => [input.name, readTensor(input, binary.get(input.name), name)]),
    )
    if (manifest.task === 'tensor') return house.deployments.infer(ref, tensors, { signal })
    const { text, ...others } = tensors
    if (!text || Object.keys(others).length > 0)
      throw invalid(`inputs: expected one, "text", got ${names.join(', ').slice(0, 200)}`, name)
    if (text.dtype !== 'string')
      throw invalid(`inputs.text.datatype: expected BYTES, got ${dataTypes[text.dtype].oip}`, name)
    return house.deployments.predict(ref, text.data as string[], { signal })
  })
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
    async ({ deployments, registry }, { params }) => {
      const version = await deployments.resolve(refOf(params))
      const versions = (await registry.versions(version.name)).map((one) => one.version)
      return modelMetadata(version, versions)
    },
  ),
  route(
    `GET ${path}/ready`,
    { summary: 'Whether a model can be used', permission: 'read', tag },
    { params },
    async ({ deployments }, { params }) => {
      const { name } = await deployments.resolve(refOf(params))
      return { name, ready: true } // loaded on demand
    },
  ),
  route(
    `GET ${path}/stats`,
    { summary: 'Statistics of a model', permission: 'read', tag },
    { params },
    async ({ deployments, metrics }, { params }) => {
      const { name, version } = await deployments.resolve(refOf(params))
      return { model_stats: [await metrics.statistics(name, version)] }
    },
  ),
  route(
    `POST ${path}/infer`,
    { summary: 'Run inference', permission: 'use', tag },
    { params, body: InferBody },
    async (house, { params, body, request, reply }) => {
      const { json, parts } = writeResponse(
        body,
        await infer(house, refOf(params), body, splitBinary(request, body), request.id, abortWith(reply)),
      )
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
  route('GET /v2/health/live', { summary: 'The server answers', permission: 'read', tag }, {}, async () => ({
    live: true,
  })),
  route('GET /v2/health/ready', { summary: 'The server can take requests', permission: 'read', tag }, {}, async () => ({
    live: true,
    ready: true,
  })),
  ...perModel,
  route(
    'POST /v2/repository/index',
    { summary: 'List models and versions', permission: 'read', tag },
    { body: Type.Optional(Type.Object({ ready: Type.Optional(Type.Boolean()) })) },
    async ({ registry, deployments }, { body }) => {
      const models = await registry.list()
      const all = await Promise.all(
        models.map(async ({ name }) => (await registry.versions(name)).map(({ version }) => ({ name, version }))),
      )
      return all
        .flat()
        .map(({ name, version }) => ({
          name,
          version: String(version),
          state: deployments.isLoaded(name, version) ? 'READY' : 'UNAVAILABLE',
          reason: deployments.isLoaded(name, version) ? '' : 'loaded on demand',
        }))
        .filter(({ state }) => !body?.ready || state === 'READY')
    },
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
      async ({ deployments }, { params, body }) => {
        const given = Object.keys(body?.parameters ?? {}).filter((key) => key !== 'unload_dependents')
        if (given.length > 0)
          throw fail('UNSUPPORTED', {
            what: `the parameter "${given[0].slice(0, 40)}"`,
            instead: 'Register versions by POST /api/models/:name/versions.',
          })
        await deployments[action](params.model)
        return {}
      },
    ),
  ),
]
