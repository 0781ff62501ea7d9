import { createReadStream } from 'node:fs'
import { fail } from '../base/errors.ts'
import { checkName } from '../base/ids.ts'
import { Type } from '../base/schema.ts'
import { SEALED_KEY } from '../bundle/bundle.ts'
import { BundleFile, Manifest, Metrics } from '../bundle/manifest.ts'
import type { Version } from '../registry/registry.ts'
import { collect } from './body.ts'
import { plainManifest } from './plain.ts'
import { type House, route } from './route.ts'

export const Ref = Type.Object({ model: Type.String({ description: 'name, name@version or name@alias' }) })
export const Named = Type.Object({ name: Type.String() })
const Aliased = Type.Object({ name: Type.String(), alias: Type.String() })

const ModelSummary = Type.Object({
  name: Type.String(),
  task: Type.String(),
  family: Type.String(),
  version: Type.Integer(),
  versions: Type.Integer(),
  aliases: Type.Record(Type.String(), Type.Integer()),
  metrics: Metrics,
  bytes: Type.Integer(),
  updatedAt: Type.String(),
  description: Type.Optional(Type.String()),
  loaded: Type.Boolean(),
})
export const ModelDetail = Type.Object({
  name: Type.String(),
  version: Type.Integer(),
  aliases: Type.Record(Type.String(), Type.Integer()),
  versions: Type.Array(
    Type.Object({ version: Type.Integer(), family: Type.String(), metrics: Metrics, createdAt: Type.String() }),
  ),
  manifest: Manifest,
  files: Type.Array(BundleFile),
})
const Loaded = Type.Object({ model: Type.String(), version: Type.Integer(), loaded: Type.Boolean() })

const tag = 'models'
const text = (description = '') => Type.Optional(Type.String({ maxLength: 1000, ...(description && { description }) }))

export async function detail({ registry }: House, { name, version, manifest, files }: Version) {
  const [aliases, versions] = await Promise.all([registry.aliases(name), registry.versions(name)])
  return {
    name,
    version,
    aliases,
    versions: versions.map((one) => ({
      version: one.version,
      family: one.manifest.family,
      metrics: one.manifest.metrics,
      createdAt: one.createdAt,
    })),
    manifest,
    files,
  }
}

export const modelRoutes = [
  route(
    'GET /api/models',
    { summary: 'List and search models', permission: 'read', tag },
    {
      querystring: Type.Object(
        {
          search: text('words that must all be found, each also as the beginning of a longer one'),
          task: text(),
          family: text(),
          language: text(),
          licence: text(),
          tag: text('a tag, or tag=value'),
          where: text('bounds of figures, e.g. accuracy>=0.9,size<=50MB'),
          sort: text('relevance, updated, name, size or a metric; with - before it, greatest first'),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
          cursor: text('`next` of the page before'),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({
        models: Type.Array(ModelSummary),
        total: Type.Integer(),
        facets: Type.Record(Type.String(), Type.Array(Type.Object({ value: Type.String(), count: Type.Integer() }))),
        next: Type.Optional(Type.String()),
      }),
    },
    async ({ registry, deployments }, { query }) => {
      const page = await registry.search(query)
      const models = page.models.map((model) => ({
        ...model,
        loaded: deployments.isLoaded(model.name, model.version),
      }))
      return { ...page, models }
    },
  ),
  route(
    'GET /api/models/:model',
    { summary: 'Show a model: versions, aliases, and the manifest and files of one version', permission: 'read', tag },
    { params: Ref, response: ModelDetail },
    async (house, { params }) => detail(house, await house.deployments.resolve(params.model)),
  ),
  route(
    'GET /api/models/:model/files/:file',
    { summary: 'Download a file of a version', permission: 'read', tag },
    { params: Type.Object({ model: Type.String(), file: Type.String() }) },
    async ({ registry, deployments }, { params, reply }) => {
      const version = await deployments.resolve(params.model)
      const file = version.files.find(({ name }) => name === params.file && name !== SEALED_KEY)
      if (!file)
        throw fail('BAD_REQUEST', {
          message: `the version has no file "${params.file.slice(0, 80)}"; it has ${version.files.map(({ name }) => name).join(', ')}`,
        })
      const paths = await registry.checkout(version)
      reply.header('content-length', file.bytes).type('application/octet-stream')
      return createReadStream(paths[file.name])
    },
  ),
  route(
    'POST /api/models/:name/versions',
    {
      summary: 'Register an ONNX file as the next version of a model that takes tensors',
      permission: 'write',
      tag,
      status: 201,
      raw: true,
    },
    {
      params: Named,
      querystring: Type.Object(
        { description: Type.Optional(Type.String({ maxLength: 2000 })) },
        { additionalProperties: false },
      ),
      response: ModelDetail,
    },
    async (house, { params, query, body }) => {
      checkName(params.name)
      const bytes = await collect(
        body as unknown as AsyncIterable<Uint8Array>,
        Math.min(house.config.uploadLimit, 2 ** 31 - 1),
      )
      const { description } = query
      const manifest = await plainManifest(bytes, description === undefined ? {} : { description })
      return detail(house, await house.registry.register(params.name, manifest, { 'model.onnx': bytes }))
    },
  ),
  route(
    'DELETE /api/models/:model',
    {
      summary: 'Delete a model, or one version (name@3); it can be restored for a while',
      permission: 'write',
      tag,
      status: 204,
    },
    { params: Ref },
    async ({ deployments }, { params }) => {
      await deployments.delete(params.model)
    },
  ),
  route(
    'PUT /api/models/:name/aliases/:alias',
    { summary: 'Point an alias to a version', permission: 'write', tag },
    {
      params: Aliased,
      body: Type.Object({ version: Type.Integer({ minimum: 1 }) }, { additionalProperties: false }),
      response: Type.Object({ aliases: Type.Record(Type.String(), Type.Integer()) }),
    },
    async ({ registry }, { params, body }) => {
      await registry.setAlias(params.name, params.alias, body.version)
      return { aliases: await registry.aliases(params.name) }
    },
  ),
  route(
    'DELETE /api/models/:name/aliases/:alias',
    { summary: 'Remove an alias', permission: 'write', tag, status: 204 },
    { params: Aliased },
    async ({ registry }, { params }) => {
      await registry.removeAlias(params.name, params.alias)
    },
  ),
  route(
    'POST /api/models/:model/load',
    { summary: 'Start the engine of a version', permission: 'write', tag },
    { params: Ref, response: Loaded },
    async ({ deployments }, { params }) => {
      const { name, version } = await deployments.load(params.model)
      return { model: name, version, loaded: true }
    },
  ),
  route(
    'POST /api/models/:model/unload',
    { summary: 'End the engine of a version, after what is in flight', permission: 'write', tag },
    { params: Ref, response: Loaded },
    async ({ deployments }, { params }) => {
      const { name, version } = await deployments.resolve(params.model)
      await deployments.unload(params.model)
      return { model: name, version, loaded: false }
    },
  ),
]
