import { createReadStream } from 'node:fs'
import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import { checkPath } from '../../store/artifacts.ts'
import { type House, route } from '../route.ts'

const tag = 'mlflow'
const PROXY = '/api/2.0/mlflow-artifacts/artifacts'
const AtPath = Type.Object({ '*': Type.String() })

/** Versions that no MLflow client logged have a folder too, made of their files: `versions/<name>/<version>`. */
export const versionFolder = (name: string, version: number) => `versions/${name}/${version}`
const OWN = /^versions\/([a-z0-9][a-z0-9._-]*)\/(\d+)(?:\/(.+))?$/

/** What tells MLflow's clients how to load a version. */
function mlmodelOf(name: string, version: number): string {
  return [
    `artifact_path: ${versionFolder(name, version)}`,
    'flavors:',
    '  onnx:',
    '    data: model.onnx',
    '    onnx_version: "1.16.0"',
    '    providers: [CPUExecutionProvider]',
    '    code: null',
    '  python_function:',
    '    data: model.onnx',
    '    loader_module: mlflow.onnx',
    `model_uuid: ${name}-${version}`,
    'mlflow_version: 2.0.0',
    '',
  ].join('\n')
}
const REQUIREMENTS = 'mlflow\nonnx\nonnxruntime\n'

async function ownFiles({ deployments }: House, name: string, version: string) {
  const found = await deployments.resolve(`${name}@${version}`)
  const made: Record<string, string> = { MLmodel: mlmodelOf(name, found.version), 'requirements.txt': REQUIREMENTS }
  return { found, made }
}

export const artifactRoutes = [
  route(
    `PUT ${PROXY}/*`,
    { summary: 'Store an artifact', permission: 'write', tag, raw: true },
    { params: AtPath },
    async ({ artifacts, config }, { params, body }) => {
      const path = checkPath(params['*'])
      if (OWN.test(path)) throw fail('BAD_REQUEST', { message: 'the files of a version cannot be changed' })
      await artifacts.put(path, body as unknown as AsyncIterable<Uint8Array>, config.uploadLimit)
      return {}
    },
  ),
  route(
    `GET ${PROXY}/*`,
    { summary: 'Bring an artifact', permission: 'read', tag },
    { params: AtPath },
    async (house, { params, reply }) => {
      const path = checkPath(params['*'])
      reply.type('application/octet-stream').header('x-content-type-options', 'nosniff')
      const [, name, version, file] = OWN.exec(path) ?? []
      if (name !== undefined && file !== undefined) {
        const { found, made } = await ownFiles(house, name, version)
        if (file in made) return Buffer.from(made[file])
        if (!found.files.some((one) => one.name === file))
          throw fail('ARTIFACT_NOT_FOUND', { path: path.slice(0, 200) })
        return createReadStream((await house.registry.checkout(found))[file])
      }
      const { file: local, bytes } = await house.artifacts.find(path)
      reply.header('content-length', bytes)
      return createReadStream(local)
    },
  ),
  route(
    `GET ${PROXY}`,
    { summary: 'List artifacts', permission: 'read', tag },
    { querystring: Type.Object({ path: Type.Optional(Type.String()) }) },
    async (house, { query }) => {
      const folder = (query.path ?? '').replace(/^\/+|\/+$/g, '')
      const [, name, version, file] = OWN.exec(folder) ?? []
      if (name === undefined) return { files: await house.artifacts.list(folder === '' ? '' : checkPath(folder)) }
      if (file !== undefined) return { files: [] }
      const { found, made } = await ownFiles(house, name, version)
      const texts = Object.entries(made).map(([path, text]) => ({ path, is_dir: false, file_size: text.length }))
      return {
        files: [...texts, ...found.files.map(({ name: path, bytes }) => ({ path, is_dir: false, file_size: bytes }))],
      }
    },
  ),
  route(
    `DELETE ${PROXY}/*`,
    { summary: 'Delete artifacts', permission: 'write', tag },
    { params: AtPath },
    async ({ artifacts }, { params }) => {
      await artifacts.delete(checkPath(params['*']))
      return {}
    },
  ),
]
