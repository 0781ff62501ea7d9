import { Type } from '../base/schema.ts'
import { BundleFile, Metrics } from '../bundle/manifest.ts'
import { Card } from '../registry/card.ts'
import { type RegistryEvent, registryEvents } from '../registry/changes.ts'
import { interfaceOf } from './interface.ts'
import { route } from './route.ts'

const tag = 'registry'
const Ref = Type.Object({ model: Type.String({ description: 'name, name@version or name@alias' }) })
const Named = Type.Object({ name: Type.String() })
const Tags = Type.Record(Type.String(), Type.String())
const Slot = Type.Object({
  name: Type.String(),
  dtype: Type.String(),
  shape: Type.Array(Type.Integer()),
  image: Type.Optional(Type.Boolean()),
})
const Usage = Type.Object({
  version: Type.Integer(),
  requests: Type.Integer(),
  rows: Type.Integer(),
  labelled: Type.Integer(),
  right: Type.Integer(),
})
const Compared = Type.Object({
  version: Type.Integer(),
  family: Type.String(),
  metrics: Metrics,
  parameters: Type.Integer(),
  bytes: Type.Integer(),
  latency: Type.Optional(Type.Number()),
  throughput: Type.Optional(Type.Number()),
  memory: Type.Optional(Type.Number()),
  madeBy: Type.String(),
  createdAt: Type.String(),
})
const CardView = Type.Object({
  model: Type.String(),
  version: Type.Integer(),
  card: Card,
  tags: Tags,
  markdown: Type.String(),
})
const Lineage = Type.Object({
  nodes: Type.Array(
    Type.Object({
      id: Type.String(),
      kind: Type.String(),
      title: Type.String(),
      about: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()])),
    }),
  ),
  edges: Type.Array(Type.Object({ from: Type.String(), to: Type.String() })),
  cut: Type.Boolean(),
})
const Event = Type.Unsafe<RegistryEvent>({ type: 'string', enum: Object.keys(registryEvents) })
const Webhook = Type.Object({
  id: Type.String(),
  url: Type.String(),
  events: Type.Array(Event),
  createdAt: Type.String(),
  waiting: Type.Optional(Type.Integer()),
})

export const registryRoutes = [
  route(
    'GET /api/models/:model/page',
    { summary: 'All there is to know of a model: card, interface, versions, files, usage', permission: 'read', tag },
    {
      params: Ref,
      response: Type.Object({
        ...CardView.properties,
        task: Type.String(),
        aliases: Type.Record(Type.String(), Type.Integer()),
        interface: Type.Object({
          inputs: Type.Array(Slot),
          outputs: Type.Array(Slot),
          route: Type.String(),
          schema: Type.Record(Type.String(), Type.Unknown()),
          example: Type.Unknown(),
        }),
        versions: Type.Array(Compared),
        files: Type.Array(BundleFile),
        usage: Type.Array(Usage),
      }),
    },
    async ({ registry, deployments }, { params }) => {
      const { printCard } = await import('../registry/card.ts')
      const version = await deployments.resolve(params.model)
      const { name } = version
      const [card, tags, aliases, versions, usage] = await Promise.all([
        registry.card(name),
        registry.tags(name),
        registry.aliases(name),
        registry.compare(name),
        registry.usage(name),
      ])
      const { task } = version.manifest
      const markdown = printCard(version, card, tags)
      const about = { model: name, version: version.version, task, card, tags, markdown, aliases }
      return { ...about, interface: interfaceOf(version), versions, files: version.files, usage }
    },
  ),
  route(
    'GET /api/models/:model/card',
    { summary: 'The card of a model, and as Markdown with what is known of a version', permission: 'read', tag },
    { params: Ref, response: CardView },
    async ({ registry, deployments }, { params }) => {
      const { printCard } = await import('../registry/card.ts')
      const version = await deployments.resolve(params.model)
      const [card, tags] = await Promise.all([registry.card(version.name), registry.tags(version.name)])
      return { model: version.name, version: version.version, card, tags, markdown: printCard(version, card, tags) }
    },
  ),
  route(
    'PUT /api/models/:name/card',
    { summary: 'Replace the card of a model: its fields, or Markdown that begins with them', permission: 'write', tag },
    {
      params: Named,
      body: Type.Union([
        Type.Object({ card: Card }, { additionalProperties: false }),
        Type.Object({ markdown: Type.String() }, { additionalProperties: false }),
      ]),
      response: Type.Object({ card: Card }),
    },
    async ({ registry }, { params, body }) => {
      const { parseCard } = await import('../registry/card.ts')
      const card = 'card' in body ? body.card : parseCard(body.markdown)
      await registry.setCard(params.name, card)
      return { card }
    },
  ),
  route(
    'GET /api/models/:model/lineage',
    {
      summary: 'What a model came from and what became of it: data, runs, versions, deployments, requests, feedback',
      permission: 'read',
      tag,
    },
    { params: Ref, response: Lineage },
    async ({ registry, deployments }, { params }) => {
      const { name } = await deployments.resolve(params.model)
      return registry.lineage(name, await deployments.list())
    },
  ),
  route(
    'PUT /api/models/:name/tags',
    { summary: 'Set tags of a model or version; null removes one', permission: 'write', tag },
    {
      params: Named,
      body: Type.Object(
        {
          tags: Type.Record(Type.String(), Type.Union([Type.String(), Type.Null()]), { maxProperties: 100 }),
          version: Type.Optional(Type.Integer({ minimum: 1 })),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({ tags: Tags }),
    },
    async ({ registry }, { params, body }) => {
      await registry.setTags(params.name, body.tags, body.version)
      return { tags: await registry.tags(params.name, body.version) }
    },
  ),
  route(
    'GET /api/deleted',
    { summary: 'Deleted versions that can be restored', permission: 'read', tag },
    {
      response: Type.Object({
        deleted: Type.Array(Type.Object({ model: Type.String(), version: Type.Integer(), deletedAt: Type.String() })),
        retentionDays: Type.Number(),
      }),
    },
    async ({ registry, config }) => ({ deleted: await registry.deleted(), retentionDays: config.retentionDays }),
  ),
  route(
    'POST /api/models/:model/restore',
    { summary: 'Bring back a deleted model, or one version (name@3)', permission: 'write', tag },
    { params: Ref, response: Type.Object({ model: Type.String(), versions: Type.Array(Type.Integer()) }) },
    async ({ registry }, { params }) => {
      const versions = await registry.restore(params.model)
      return { model: params.model.split('@')[0], versions }
    },
  ),
  route(
    'POST /api/gc',
    {
      summary:
        'Purge versions that were deleted, and files of runs that failed, long enough ago; and files that nothing refers to',
      permission: 'admin',
      tag,
    },
    {
      body: Type.Object(
        { days: Type.Optional(Type.Number({ minimum: 0, maximum: 36_500 })) },
        { additionalProperties: false },
      ),
      response: Type.Object({
        versions: Type.Integer(),
        runs: Type.Integer(),
        blobs: Type.Integer(),
        bytes: Type.Integer(),
      }),
    },
    async ({ registry, runs, config }, { body }) => {
      const days = body.days ?? config.retentionDays
      return { runs: await runs.collect(days), ...(await registry.collectGarbage({ days })) }
    },
  ),
  route(
    'GET /api/backup',
    { summary: 'All rows and files as they are now, as a tar file', permission: 'admin', tag },
    {},
    async ({ store, log }, { request, reply }) => {
      const [{ packBackup }, { dump }] = await Promise.all([import('../store/backup.ts'), import('../store/dump.ts')])
      const parts = dump(store, { blobs: true })
      const first = await parts.next() // what is wrong at once is told as an error
      const tar = packBackup(chained(first, parts))
      tar.once('error', (error) => log.error('backup.broken', error, { requestId: request.id }))
      reply.type('application/x-tar')
      return tar
    },
  ),
  route(
    'GET /api/webhooks',
    { summary: 'Webhooks, and what they can be told', permission: 'admin', tag },
    { response: Type.Object({ webhooks: Type.Array(Webhook), events: Type.Record(Type.String(), Type.String()) }) },
    async ({ webhooks }) => ({ webhooks: await webhooks.list(), events: registryEvents }),
  ),
  route(
    'POST /api/webhooks',
    {
      summary: 'Have an address told of changes; its secret is in this answer alone',
      permission: 'admin',
      tag,
      status: 201,
    },
    {
      body: Type.Object(
        { url: Type.String({ maxLength: 2000 }), events: Type.Optional(Type.Array(Event, { maxItems: 20 })) },
        { additionalProperties: false },
      ),
      response: Type.Object({ ...Webhook.properties, secret: Type.String() }),
    },
    async ({ webhooks }, { body }) => webhooks.add(body.url, body.events ?? []),
  ),
  route(
    'DELETE /api/webhooks/:id',
    { summary: 'Remove a webhook', permission: 'admin', tag, status: 204 },
    { params: Type.Object({ id: Type.String() }) },
    async ({ webhooks }, { params }) => webhooks.remove(params.id),
  ),
]

async function* chained<T>(first: IteratorResult<T, unknown>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  if (!first.done) yield first.value
  yield* rest
}
