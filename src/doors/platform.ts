import { fail } from '../base/errors.ts'
import { Type } from '../base/schema.ts'
import { version } from '../base/version.ts'
import { Advice } from '../train/advice.ts'
import { RefineSpec, Run, RunSpec } from '../train/events.ts'
import { contentType } from '../watch/metrics/exposition.ts'
import { readMachine } from '../watch/resources/machine.ts'
import { ownUse, useOf } from '../watch/resources/processes.ts'
import { abortWith, route } from './route.ts'
import { openEvents } from './sse.ts'

const Dataset = Type.Object({
  id: Type.String(),
  filename: Type.String(),
  digest: Type.String(),
  bytes: Type.Integer(),
  createdAt: Type.String(),
})
const ByRun = Type.Object({ run: Type.String() })

export const datasetRoutes = [
  route(
    'POST /api/datasets',
    {
      summary: 'Upload a data file (CSV, TSV, JSONL or Parquet)',
      permission: 'write',
      tag: 'datasets',
      status: 201,
      raw: true,
    },
    {
      querystring: Type.Object(
        { filename: Type.String({ minLength: 1, maxLength: 200, pattern: '^[^/\\\\\\u0000-\\u001f]+$' }) },
        { additionalProperties: false },
      ),
      response: Dataset,
    },
    async ({ datasets, config }, { query, body }) =>
      datasets.add(query.filename, body as unknown as AsyncIterable<Uint8Array>, config.uploadLimit),
  ),
  route(
    'GET /api/datasets',
    { summary: 'List uploaded data files', permission: 'read', tag: 'datasets' },
    { response: Type.Object({ datasets: Type.Array(Dataset) }) },
    async ({ datasets }) => ({ datasets: await datasets.list() }),
  ),
  route(
    'DELETE /api/datasets/:id',
    { summary: 'Delete an uploaded data file', permission: 'write', tag: 'datasets', status: 204 },
    { params: Type.Object({ id: Type.String() }) },
    async ({ datasets, registry }, { params }) => {
      await datasets.delete(params.id)
      await registry.collectGarbage()
    },
  ),
]

export const runRoutes = [
  route(
    'GET /api/families',
    { summary: 'Model families and their options', permission: 'read', tag: 'runs' },
    {},
    async () => (await import('../train/job.ts')).describeFamilies(),
  ),
  route(
    'POST /api/advice',
    { summary: 'Look at a data set and say what to try, and why; trains nothing', permission: 'write', tag: 'runs' },
    {
      body: Type.Pick(RunSpec, ['dataset', 'read', 'problem', 'dropUnlabelled'], { additionalProperties: false }),
      response: Advice,
    },
    async (house, { body, reply }) => (await import('../train/advising.ts')).adviseOn(house, body, abortWith(reply)),
  ),
  route(
    'POST /api/runs',
    { summary: 'Start a training run', permission: 'write', tag: 'runs', status: 201 },
    { body: RunSpec, response: Run },
    async ({ runs }, { body }) => runs.create(body),
  ),
  route(
    'POST /api/refinements',
    {
      summary: 'Refine a version: a run whose result is measured before it is registered',
      permission: 'write',
      tag: 'runs',
      status: 201,
    },
    { body: RefineSpec, response: Run },
    async ({ runs }, { body }) => runs.refine(body),
  ),
  route(
    'GET /api/passes',
    { summary: 'Passes of refinement and their options', permission: 'read', tag: 'runs' },
    {},
    async () => (await import('../refine/describe.ts')).describePasses(),
  ),
  route(
    'GET /api/runs',
    { summary: 'List training runs, newest first', permission: 'read', tag: 'runs' },
    { response: Type.Object({ runs: Type.Array(Run) }) },
    async ({ runs }) => ({ runs: await runs.list() }),
  ),
  route(
    'GET /api/runs/:run',
    { summary: 'Show a training run', permission: 'read', tag: 'runs' },
    { params: ByRun, response: Run },
    async ({ runs }, { params }) => runs.get(params.run),
  ),
  route(
    'GET /api/runs/:run/events',
    { summary: 'Follow a run (server-sent events; goes on after Last-Event-ID)', permission: 'read', tag: 'runs' },
    { params: ByRun },
    async ({ runs }, { params, request, reply }) => {
      await runs.get(params.run)
      const after = Number(request.headers['last-event-id'] ?? 0)
      const events = runs.events(params.run, Number.isSafeInteger(after) ? after : 0, abortWith(reply))
      const stream = openEvents(request, reply)
      try {
        for await (const { id, event } of events)
          await stream.write(`${id > 0 ? `id: ${id}\n` : ''}event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      } finally {
        stream.end()
      }
    },
  ),
  ...(['cancel', 'interrupt', 'resume'] as const).map((action) =>
    route(
      `POST /api/runs/:run/${action}`,
      {
        summary: {
          cancel: 'End a run for good, also an interrupted or failed one, and remove what it kept to go on',
          interrupt: 'Stop a run so that it can be resumed',
          resume: 'Go on with an interrupted run',
        }[action],
        permission: 'write',
        tag: 'runs',
      },
      { params: ByRun, response: Run },
      async ({ runs }, { params }) => runs[action](params.run),
    ),
  ),
]

export const platformRoutes = [
  ...(['GET /health', 'GET /livez'] as const).map((head) =>
    route(head, { summary: 'The server answers', permission: 'public', tag: 'platform' }, {}, async () => ({
      status: 'ok',
    })),
  ),
  ...(['GET /ready', 'GET /readyz'] as const).map((head) =>
    route(
      head,
      {
        summary: 'Every loaded model answered a request or a canary within the last five seconds (503 if not)',
        permission: 'public',
        tag: 'platform',
      },
      {},
      async ({ health }) => {
        const all = await health()
        const silent = all.filter(({ ready }) => !ready).length
        if (silent > 0) throw fail('NOT_READY', { silent, loaded: all.length })
        return { ready: true, models: all.length } // of all tenants: no names for whoever asks
      },
    ),
  ),
  route(
    'GET /metrics',
    { summary: 'Metrics in Prometheus’ text format', permission: 'read', tag: 'platform' },
    {},
    async (house, { reply }) => {
      reply.type(contentType)
      return house.metrics.text(await house.samples())
    },
  ),
  route(
    'GET /api/status',
    { summary: 'What runs here', permission: 'read', tag: 'platform' },
    {},
    async ({ registry, deployments, runs, startedAt, url }) => ({
      version,
      url: url(),
      pid: process.pid,
      uptimeSeconds: Math.round((performance.now() - startedAt) / 1000),
      models: { registered: await registry.count(), loaded: (await deployments.list()).length },
      runs: { active: runs.active },
    }),
  ),
  route(
    'GET /api/engines',
    { summary: 'Engines and what they use', permission: 'read', tag: 'platform' },
    {},
    async ({ deployments }) => ({
      engines: (await deployments.list()).map(({ stats, ...engine }) => ({
        ...engine,
        ...stats,
        ...(engine.pid !== undefined && useOf(engine.pid)),
      })),
    }),
  ),
  route(
    'GET /api/resources',
    { summary: 'What the server and the machine have and use', permission: 'read', tag: 'platform' },
    {},
    async ({ store }) => ({ server: ownUse(), ...readMachine(store.home) }),
  ),
  route(
    'GET /api/logs',
    { summary: 'The stored log, newest first', permission: 'admin', tag: 'platform' },
    {
      querystring: Type.Object(
        {
          level: Type.Optional(Type.String()),
          model: Type.Optional(Type.String()),
          code: Type.Optional(Type.String()),
          request: Type.Optional(Type.String()),
          since: Type.Optional(Type.String()),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
        },
        { additionalProperties: false },
      ),
    },
    async ({ entries, log }, { query }) => {
      await log.flush()
      return { entries: await entries.list(query) }
    },
  ),
]
