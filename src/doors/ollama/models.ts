import { createHash } from 'node:crypto'
import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import { version as code } from '../../base/version.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import type { Version } from '../../registry/registry.ts'
import { type House, route } from '../route.ts'
import { findNamed, tagged } from './names.ts'

const tag = 'ollama'

/** What a model can do, in Ollama's words: whoever converses can be made to call. */
function capabilitiesOf({ task, pipeline = {} }: Manifest): string[] {
  if (task === 'feature-extraction') return ['embedding']
  if (task !== 'text-generation') return []
  return 'chatTemplate' in pipeline ? ['completion', 'tools'] : ['completion']
}

/** 1234567 → `1.2M`, as Ollama writes sizes of models. */
function parameterSize(count: number): string {
  for (const [unit, size] of [
    ['B', 1e9],
    ['M', 1e6],
    ['K', 1e3],
  ] as const)
    if (count >= size) return `${(count / size).toFixed(1)}${unit}`
  return String(count)
}

const details = ({ engine = 'onnx', family, parameters, pipeline }: Manifest) => ({
  parent_model: '',
  format: engine === 'llama' ? 'gguf' : engine,
  family,
  families: [family],
  parameter_size: parameterSize(parameters),
  quantization_level: String(pipeline?.quantization ?? 'unknown'),
})

/** One digest for a version: of the digests of its files. */
function digestOf({ files }: Version): string {
  const hash = createHash('sha256')
  for (const { name, digest } of files) hash.update(`${name}:${digest}\n`)
  return hash.digest('hex')
}

const sizeOf = ({ files }: Version) => files.reduce((sum, { bytes }) => sum + bytes, 0)

async function newest({ registry, deployments }: House): Promise<Version[]> {
  return Promise.all((await registry.list()).map(({ name }) => deployments.resolve(name)))
}

export const modelRoutes = [
  route('GET /ollama/', { summary: 'The server answers', permission: 'public', tag }, {}, async (_house, { reply }) => {
    reply.type('text/plain')
    return 'Ollama is running'
  }),
  route('GET /ollama/api/version', { summary: 'Version of the server', permission: 'read', tag }, {}, async () => ({
    version: code,
  })),
  route('GET /ollama/api/tags', { summary: 'List models', permission: 'read', tag }, {}, async (house) => ({
    models: (await newest(house)).map((version) => ({
      name: tagged(version.name),
      model: tagged(version.name),
      modified_at: version.createdAt,
      size: sizeOf(version),
      digest: digestOf(version),
      details: details(version.manifest),
    })),
  })),
  route(
    'GET /ollama/api/ps',
    { summary: 'List models that are loaded', permission: 'read', tag },
    {},
    async (house) => ({
      models: await Promise.all(
        (await house.deployments.list()).map(async ({ model, version: number }) => {
          const version = await house.deployments.resolve(`${model}@${number}`)
          return {
            name: tagged(model, number),
            model: tagged(model, number),
            size: sizeOf(version),
            digest: digestOf(version),
            details: details(version.manifest),
            expires_at: '0001-01-01T00:00:00Z', // kept until unloaded
            size_vram: 0,
          }
        }),
      ),
    }),
  ),
  route(
    'POST /ollama/api/show',
    { summary: 'Show a model', permission: 'read', tag },
    { body: Type.Object({ model: Type.Optional(Type.String()), name: Type.Optional(Type.String()) }) },
    async (house, { body }) => {
      const version = await findNamed(house, nameOf(body))
      const { manifest } = version
      const { family, task, parameters, pipeline = {} } = manifest
      const { context, chatTemplate } = pipeline as { context?: number; chatTemplate?: string }
      return {
        license: '',
        modelfile: `FROM ${version.name}@${version.version}`,
        parameters: '',
        template: chatTemplate ?? '',
        details: details(manifest),
        model_info: {
          'general.architecture': family,
          'general.parameter_count': parameters,
          'athanor.task': task,
          ...(context !== undefined && { [`${family}.context_length`]: context }),
        },
        capabilities: capabilitiesOf(manifest),
        modified_at: version.createdAt,
      }
    },
  ),
  route(
    'DELETE /ollama/api/delete',
    { summary: 'Delete a model, or one version', permission: 'write', tag },
    { body: Type.Object({ model: Type.Optional(Type.String()), name: Type.Optional(Type.String()) }) },
    async (house, { body }) => {
      const name = nameOf(body)
      const version = await findNamed(house, name)
      const whole = !name.includes(':') || name.endsWith(':latest')
      await house.deployments.delete(whole ? version.name : `${version.name}@${version.version}`)
      return {}
    },
  ),
  ...(['pull', 'push', 'create', 'copy'] as const).map((action) =>
    route(`POST /ollama/api/${action}`, { summary: 'Not served', permission: 'write', tag }, {}, async () => {
      throw fail('BAD_REQUEST', {
        message: `"${action}" is not served here: register models by POST /api/models/:name/versions`,
      })
    }),
  ),
]

/** Older clients say `name`. */
function nameOf({ model, name }: { model?: string; name?: string }): string {
  const given = model || name
  if (!given) throw fail('BAD_REQUEST', { message: 'model: expected a name', param: 'model' })
  return given
}
