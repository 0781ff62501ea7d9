import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type * as Yaml from 'yaml'
import { AthanorError, fail } from '../../base/errors.ts'
import { checkName } from '../../base/ids.ts'
import { type Static, Type } from '../../base/schema.ts'
import { version as code } from '../../base/version.ts'
import type { Version } from '../../registry/registry.ts'
import { plainManifest } from '../plain.ts'
import type { House } from '../route.ts'
import { number, pairs, read, SCHEME, text, write } from './api.ts'
import { versionFolder } from './artifacts.ts'
import { paged, parseFilter } from './filter.ts'
import { folderOf } from './logged-models.ts'

const require = createRequire(import.meta.url)
const Name = Type.Object({ name: Type.String() })
const Versioned = Type.Object({ name: Type.String(), version: Type.Union([Type.String(), Type.Integer()]) })
const Pairs = Type.Optional(Type.Array(Type.Object({ key: Type.String(), value: Type.String() }), { maxItems: 100 }))
const Search = Type.Object({
  filter: text,
  max_results: number,
  order_by: Type.Optional(Type.Unknown()),
  page_token: text,
})

const refOf = ({ name, version }: Static<typeof Versioned>) => `${checkName(name)}@${Math.trunc(Number(version)) || 0}`
const time = (iso: string) => Date.parse(iso)

/** Where an MLflow client says that a version is from. */
const origin = ({ store }: House, model: string, version: number) =>
  store.db
    .selectFrom('tracked_versions')
    .selectAll()
    .where('model', '=', model)
    .where('version', '=', version)
    .executeTakeFirst()

async function versionView(house: House, { name, version, createdAt, manifest }: Omit<Version, 'files'>) {
  const { registry } = house
  const [from, tags, aliases] = await Promise.all([
    origin(house, name, version),
    registry.tags(name, version),
    registry.aliases(name),
  ])
  return {
    name,
    version: String(version),
    creation_timestamp: time(createdAt),
    last_updated_timestamp: time(createdAt),
    current_stage: 'None',
    description: from?.description ?? manifest.description ?? '',
    source: from?.source ?? `${SCHEME}${versionFolder(name, version)}`,
    ...((from?.run ?? manifest.lineage.run) && { run_id: from?.run ?? manifest.lineage.run }),
    status: 'READY',
    run_link: '',
    tags: pairs(tags),
    aliases: Object.keys(aliases).filter((alias) => aliases[alias] === version),
  }
}

/** Versions of a model, newest first; none of one that was made without any. Throws MODEL_NOT_FOUND. */
async function versionsOf({ registry, store }: House, name: string) {
  try {
    return await registry.versions(checkName(name))
  } catch (error) {
    const unknown = error instanceof AthanorError && error.code === 'MODEL_NOT_FOUND'
    const empty = store.db.selectFrom('models').select('name').where('name', '=', name).where('last_version', '=', 0)
    if (unknown && (await empty.executeTakeFirst())) return []
    throw error
  }
}

async function modelView(house: House, name: string) {
  const { registry, store } = house
  const versions = await versionsOf(house, name)
  const row = await store.db.selectFrom('models').selectAll().where('name', '=', name).executeTakeFirstOrThrow()
  const [tags, aliases] = await Promise.all([registry.tags(name), registry.aliases(name)])
  const card = row.card === null ? {} : (JSON.parse(row.card) as { description?: string })
  const [latest] = versions
  return {
    name,
    creation_timestamp: time(row.created_at),
    last_updated_timestamp: time(latest?.createdAt ?? row.created_at),
    description: card.description ?? latest?.manifest.description ?? '',
    latest_versions: latest ? [await versionView(house, latest)] : [],
    tags: pairs(tags),
    aliases: Object.entries(aliases).map(([alias, version]) => ({ alias, version: String(version) })),
  }
}

/** Folder of artifacts and run that a source means; throws BAD_REQUEST. A path or address is never followed. */
async function sourceOf({ tracking }: House, source: string, modelId: string | undefined) {
  const id = modelId ?? /^models:\/(m-[0-9a-f]{32})$/.exec(source)?.[1]
  if (id !== undefined) {
    const model = await tracking.model(id)
    return { folder: folderOf(model), run: model.run }
  }
  if (!source.startsWith(SCHEME))
    throw fail('BAD_REQUEST', { message: `source: expected artifacts that were logged here, ${SCHEME}…` })
  return { folder: source.slice(SCHEME.length).replace(/^\/+|\/+$/g, ''), run: null }
}

/** The ONNX file of a logged model; throws UNSUPPORTED for other flavours. */
async function onnxOf({ artifacts }: House, folder: string): Promise<Uint8Array> {
  const { file } = await artifacts.find(`${folder}/MLmodel`)
  const { parse } = require('yaml') as typeof Yaml
  const read = parse(await readFile(file, 'utf8'), { schema: 'core', maxAliasCount: 0 }) as {
    flavors?: Record<string, { data?: unknown } | undefined>
  } | null
  const data = read?.flavors?.onnx?.data
  if (typeof data !== 'string') {
    const flavours = Object.keys(read?.flavors ?? {}).join(', ') || 'none'
    throw fail('UNSUPPORTED', { what: `registering the flavours ${flavours}`, instead: 'Log it with mlflow.onnx.' })
  }
  const entries = await artifacts.list(folder)
  const inside = entries.some(({ path, is_dir }) => path === data && is_dir)
  if (inside) throw fail('UNSUPPORTED', { what: 'registering ONNX with external data', instead: 'Log it as one file.' })
  return readFile((await artifacts.find(`${folder}/${data}`)).file)
}

const setTags = (house: House, name: string, tags: readonly { key: string; value: string | null }[], version = 0) =>
  house.registry.setTags(name, Object.fromEntries(tags.map(({ key, value }) => [key, value])), version)

export const mlflowRegistryRoutes = [
  write(
    'POST /registered-models/create',
    'Make a model without versions',
    { body: Type.Object({ name: Type.String(), description: text, tags: Pairs }) },
    async (house, { body }) => {
      const name = checkName(body.name)
      const there = await versionsOf(house, name).catch((error: AthanorError) => {
        if (error.code === 'MODEL_NOT_FOUND') return undefined
        throw error
      })
      if (there) throw fail('ALREADY_EXISTS', { what: `model "${name}"` })
      const card = body.description ? JSON.stringify({ description: body.description.slice(0, 500) }) : null
      await house.store.db
        .insertInto('models')
        .values({ name, created_at: new Date().toISOString(), last_version: 0, card })
        .onConflict((c) => c.doNothing())
        .execute()
      return { registered_model: await modelView(house, name).catch(() => ({ name })) }
    },
  ),
  read('GET /registered-models/get', 'Show a model', { querystring: Name }, async (house, { query }) => ({
    registered_model: await modelView(house, query.name),
  })),
  read('GET /registered-models/search', 'Search models', { querystring: Search }, async (house, { query }) => {
    const test = parseFilter(query.filter)
    const { rows } = {
      rows: await house.store.db.selectFrom('models').select(['name', 'last_version']).orderBy('name').execute(),
    }
    const seen = new Set((await house.registry.list()).map(({ name }) => name))
    const all: string[] = []
    for (const { name, last_version } of rows) {
      if (last_version > 0 && !seen.has(name)) continue
      if (test({ fields: { name }, tags: await house.registry.tags(name).catch(() => ({})) })) all.push(name)
    }
    const { items, ...next } = paged(all, {
      max: query.max_results ?? 100,
      ...(query.page_token && { token: query.page_token }),
    })
    return { registered_models: await Promise.all(items.map((name) => modelView(house, name))), ...next }
  }),
  write(
    'PATCH /registered-models/update',
    'Describe a model',
    { body: Type.Object({ name: Type.String(), description: text }) },
    async (house, { body }) => {
      const { name, description = '' } = body
      if ((await versionsOf(house, name)).length > 0)
        await house.registry.setCard(name, {
          ...(await house.registry.card(name)),
          description: description.replace(/\p{Cc}+/gu, ' ').slice(0, 500),
        })
      return { registered_model: await modelView(house, name) }
    },
  ),
  write('DELETE /registered-models/delete', 'Delete a model', { body: Name }, async (house, { body }) => {
    if ((await versionsOf(house, body.name)).length > 0) await house.deployments.delete(body.name)
    else await house.store.db.deleteFrom('models').where('name', '=', body.name).where('last_version', '=', 0).execute()
    return {}
  }),
  ...(['GET', 'POST'] as const).map((method) =>
    read(
      `${method} /registered-models/get-latest-versions`,
      'The newest version of a model',
      method === 'GET' ? { querystring: Name } : { body: Name },
      async (house, call) => {
        const { name } = (method === 'GET' ? call.query : call.body) as unknown as { name: string }
        return { model_versions: (await modelView(house, name)).latest_versions }
      },
    ),
  ),
  write(
    'POST /registered-models/set-tag',
    'Tag a model',
    { body: Type.Object({ name: Type.String(), key: Type.String(), value: Type.String() }) },
    async (house, { body }) => {
      await setTags(house, body.name, [body])
      return {}
    },
  ),
  write(
    'DELETE /registered-models/delete-tag',
    'Remove a tag of a model',
    { body: Type.Object({ name: Type.String(), key: Type.String() }) },
    async (house, { body }) => {
      await setTags(house, body.name, [{ key: body.key, value: null }])
      return {}
    },
  ),
  write(
    'POST /registered-models/alias',
    'Point an alias to a version',
    { body: Type.Object({ ...Versioned.properties, alias: Type.String() }) },
    async ({ registry }, { body }) => {
      await registry.setAlias(checkName(body.name), body.alias, Number(body.version))
      return {}
    },
  ),
  write(
    'DELETE /registered-models/alias',
    'Remove an alias',
    { body: Type.Object({ name: Type.String(), alias: Type.String() }) },
    async ({ registry }, { body }) => {
      await registry.removeAlias(checkName(body.name), body.alias)
      return {}
    },
  ),
  read(
    'GET /registered-models/alias',
    'The version that an alias means',
    { querystring: Type.Object({ name: Type.String(), alias: Type.String() }) },
    async (house, { query }) => ({
      model_version: await versionView(
        house,
        await house.deployments.resolve(`${checkName(query.name)}@${query.alias}`),
      ),
    }),
  ),
  write(
    'POST /model-versions/create',
    'Register a logged ONNX model as the next version',
    {
      body: Type.Object({
        name: Type.String(),
        source: Type.String({ maxLength: 2_000 }),
        run_id: text,
        model_id: text,
        description: text,
        tags: Pairs,
      }),
    },
    async (house, { body }) => {
      const { registry, tracking } = house
      const { folder, run } = await sourceOf(house, body.source, body.model_id)
      const runId = body.run_id || run
      const bytes = await onnxOf(house, folder)
      const logged = runId === null ? [] : (await tracking.data(runId)).metrics
      const manifest = await plainManifest(bytes, {
        metrics: Object.fromEntries(
          logged.filter(({ value }) => Number.isFinite(value)).map(({ name, value }) => [name, value]),
        ),
        lineage: { code, ...(runId !== null && { run: runId }) },
        ...(body.description && { description: body.description }),
      })
      const row = { source: body.source, path: folder, run: runId, description: body.description ?? null }
      const version = await registry.register(
        checkName(body.name),
        manifest,
        { 'model.onnx': bytes },
        async (tx, number) => {
          await tx
            .insertInto('tracked_versions')
            .values({ model: body.name, version: number, ...row })
            .execute()
        },
      )
      if (body.tags && body.tags.length > 0) await setTags(house, body.name, body.tags, version.version)
      return { model_version: await versionView(house, version) }
    },
  ),
  read('GET /model-versions/get', 'Show a version', { querystring: Versioned }, async (house, { query }) => ({
    model_version: await versionView(house, await house.deployments.resolve(refOf(query))),
  })),
  read(
    'GET /model-versions/get-download-uri',
    'Where the files of a version are',
    { querystring: Versioned },
    async (house, { query }) => {
      const { name, version } = await house.deployments.resolve(refOf(query))
      const from = await origin(house, name, version)
      return { artifact_uri: `${SCHEME}${from?.path ?? versionFolder(name, version)}` }
    },
  ),
  read('GET /model-versions/search', 'Search versions', { querystring: Search }, async (house, { query }) => {
    const test = parseFilter(query.filter)
    const [, only] = /^\s*name\s*=\s*'([^']*)'/i.exec(query.filter ?? '') ?? []
    const names = only === undefined ? (await house.registry.list()).map(({ name }) => name) : [only]
    const all: Awaited<ReturnType<typeof versionView>>[] = []
    for (const name of names) {
      const versions = await versionsOf(house, name).catch(() => [])
      for (const version of versions) {
        const view = await versionView(house, version)
        const fields = {
          name,
          run_id: view.run_id,
          source_path: view.source,
          version: version.version,
          version_number: version.version,
        }
        if (test({ fields, tags: Object.fromEntries(view.tags.map(({ key, value }) => [key, value])) })) all.push(view)
      }
    }
    const { items, ...next } = paged(all, {
      max: query.max_results ?? 200,
      ...(query.page_token && { token: query.page_token }),
    })
    return { model_versions: items, ...next }
  }),
  write(
    'PATCH /model-versions/update',
    'Describe a version',
    { body: Type.Object({ ...Versioned.properties, description: text }) },
    async (house, { body }) => {
      const version = await house.deployments.resolve(refOf(body))
      const { name: model, version: number } = version
      const row = {
        model,
        version: number,
        path: versionFolder(model, number),
        run: null,
        description: body.description ?? '',
      }
      await house.store.db
        .insertInto('tracked_versions')
        .values({ ...row, source: `${SCHEME}${row.path}` })
        .onConflict((c) => c.columns(['model', 'version']).doUpdateSet({ description: row.description }))
        .execute()
      return { model_version: await versionView(house, version) }
    },
  ),
  write('DELETE /model-versions/delete', 'Delete a version', { body: Versioned }, async ({ deployments }, { body }) => {
    await deployments.delete(refOf(body))
    return {}
  }),
  write(
    'POST /model-versions/set-tag',
    'Tag a version',
    { body: Type.Object({ ...Versioned.properties, key: Type.String(), value: Type.String() }) },
    async (house, { body }) => {
      await setTags(house, checkName(body.name), [body], Number(body.version))
      return {}
    },
  ),
  write(
    'DELETE /model-versions/delete-tag',
    'Remove a tag of a version',
    { body: Type.Object({ ...Versioned.properties, key: Type.String() }) },
    async (house, { body }) => {
      await setTags(house, checkName(body.name), [{ key: body.key, value: null }], Number(body.version))
      return {}
    },
  ),
]
