import { type Static, Type } from '../../base/schema.ts'
import type { Experiment, RunData, TrackedMetric } from '../../store/tracking.ts'
import { artifactsOf, entries, number, Pairs, pairs, read, record, SCHEME, text, write } from './api.ts'
import { paged, parseFilter } from './filter.ts'

const Metric = Type.Object({
  key: Type.String({ maxLength: 250 }),
  /** NaN and infinities are text in their JSON. */
  value: Type.Union([Type.Number(), Type.String({ maxLength: 20 })]),
  timestamp: number,
  step: number,
})

const experimentView = ({ id, name, state, tags, created_at, updated_at }: Experiment) => ({
  experiment_id: String(id),
  name,
  artifact_location: `${SCHEME}${id}`,
  lifecycle_stage: state,
  creation_time: created_at,
  last_update_time: updated_at,
  tags: pairs(JSON.parse(tags) as Record<string, string>),
})

/** JSON has no NaN. */
const asJson = (value: number) => (Number.isFinite(value) ? value : String(value))
const metricView = ({ name, value, step, at }: TrackedMetric) => ({
  key: name,
  value: asJson(value),
  timestamp: at,
  step,
})

const infoView = ({ run }: RunData) => ({
  run_id: run.run,
  run_uuid: run.run,
  run_name: run.name,
  experiment_id: String(run.experiment),
  user_id: run.user_id,
  status: run.status,
  start_time: run.start_time,
  ...(run.end_time !== null && { end_time: run.end_time }),
  artifact_uri: artifactsOf(run.experiment, run.run),
  lifecycle_stage: run.state,
})
const runView = (data: RunData) => ({
  info: infoView(data),
  data: { metrics: data.metrics.map(metricView), params: pairs(data.params), tags: pairs(data.tags) },
  inputs: {},
  outputs: {},
})

const ById = Type.Object({ experiment_id: Type.String() })
const OfRun = Type.Object({ run_id: text, run_uuid: text })
const runOf = ({ run_id, run_uuid }: { run_id?: string; run_uuid?: string }) => run_id || run_uuid || ''
const metricOf = ({ key, value, timestamp, step }: Static<typeof Metric>): TrackedMetric => ({
  name: key,
  value: Number(value),
  step: Math.trunc(step ?? 0),
  at: Math.trunc(timestamp ?? Date.now()),
})
const seen = (view: string | undefined, state: string) =>
  view === 'ALL' || state === (view === 'DELETED_ONLY' ? 'deleted' : 'active')

const searched = ({ run, metrics, params, tags }: RunData) => ({
  metrics: Object.fromEntries(metrics.map(({ name, value }) => [name, value])),
  params,
  tags,
  fields: {
    run_id: run.run,
    run_name: run.name,
    status: run.status,
    user_id: run.user_id,
    start_time: run.start_time,
    end_time: run.end_time ?? undefined,
  },
})

/** Orders as `metrics.loss DESC`; the first that tells two runs apart decides. */
function ordered(runs: RunData[], orders: readonly string[] = []): RunData[] {
  const keys = orders.map((order) => {
    const [, kind, name, direction = 'asc'] =
      /^\s*(?:(metrics|params|tags|attributes)\.)?[`"]?(.+?)[`"]?(?:\s+(asc|desc))?\s*$/i.exec(order) ?? []
    const place = (kind ?? 'fields').toLowerCase().replace('attributes', 'fields') as 'metrics'
    const of = (run: RunData) => (searched(run)[place] as Record<string, string | number | undefined>)[name]
    return { of, sign: direction.toLowerCase() === 'desc' ? -1 : 1 }
  })
  return runs.toSorted((a, b) => {
    for (const { of, sign } of keys) {
      const [x, y] = [of(a), of(b)]
      if (x === y) continue
      if (x === undefined || y === undefined) return x === undefined ? 1 : -1 // without it last
      return x < y ? -sign : sign
    }
    return 0
  })
}

export const trackingRoutes = [
  write(
    'POST /experiments/create',
    'Create an experiment',
    { body: Type.Object({ name: Type.String({ minLength: 1, maxLength: 500 }), tags: Pairs }) },
    async ({ tracking }, { body }) => {
      const { id } = await tracking.createExperiment(body.name, record(body.tags))
      return { experiment_id: String(id) }
    },
  ),
  read('GET /experiments/get', 'Show an experiment', { querystring: ById }, async ({ tracking }, { query }) => ({
    experiment: experimentView(await tracking.experiment({ id: Number(query.experiment_id) })),
  })),
  read(
    'GET /experiments/get-by-name',
    'Show an experiment',
    { querystring: Type.Object({ experiment_name: Type.String() }) },
    async ({ tracking }, { query }) => ({
      experiment: experimentView(await tracking.experiment({ name: query.experiment_name })),
    }),
  ),
  read(
    'POST /experiments/search',
    'Search experiments',
    { body: Type.Object({ filter: text, max_results: number, page_token: text, view_type: text }) },
    async ({ tracking }, { body }) => {
      const test = parseFilter(body.filter)
      const all = (await tracking.experiments()).filter(({ state, name, tags, created_at, updated_at }) => {
        const fields = { name, creation_time: created_at, last_update_time: updated_at }
        return seen(body.view_type, state) && test({ fields, tags: JSON.parse(tags) as Record<string, string> })
      })
      const { items, ...next } = paged(all, {
        ...(body.max_results && { max: body.max_results }),
        ...(body.page_token && { token: body.page_token }),
      })
      return { experiments: items.map(experimentView), ...next }
    },
  ),
  ...(['delete', 'restore'] as const).map((action) =>
    write(`POST /experiments/${action}`, `${action} an experiment`, { body: ById }, async ({ tracking }, { body }) => {
      await tracking.updateExperiment(Number(body.experiment_id), { state: action === 'delete' ? 'deleted' : 'active' })
      return {}
    }),
  ),
  write(
    'POST /experiments/update',
    'Rename an experiment',
    { body: Type.Object({ experiment_id: Type.String(), new_name: text }) },
    async ({ tracking }, { body }) => {
      if (body.new_name) await tracking.updateExperiment(Number(body.experiment_id), { name: body.new_name })
      return {}
    },
  ),
  write(
    'POST /experiments/set-experiment-tag',
    'Tag an experiment',
    { body: Type.Object({ experiment_id: Type.String(), key: Type.String(), value: Type.String() }) },
    async ({ tracking }, { body }) => {
      const { id, tags } = await tracking.experiment({ id: Number(body.experiment_id) })
      await tracking.updateExperiment(id, {
        tags: JSON.stringify({ ...(JSON.parse(tags) as object), [body.key]: body.value }),
      })
      return {}
    },
  ),
  write(
    'POST /runs/create',
    'Begin a run',
    {
      body: Type.Object({
        experiment_id: Type.String(),
        run_name: text,
        user_id: text,
        start_time: number,
        tags: Pairs,
      }),
    },
    async ({ tracking }, { body }) => {
      const { experiment_id, run_name, user_id = '', start_time = Date.now(), tags } = body
      const name = run_name || `run-${start_time.toString(36)}`
      const { run } = await tracking.createRun({ experiment: Number(experiment_id), name, user_id, start_time })
      await tracking.log(run, { tags: entries(tags) })
      return { run: runView(await tracking.data(run)) }
    },
  ),
  write(
    'POST /runs/update',
    'End a run',
    { body: Type.Object({ run_id: text, run_uuid: text, status: text, end_time: number, run_name: text }) },
    async ({ tracking }, { body }) => {
      const run = runOf(body)
      await tracking.updateRun(run, {
        ...(body.status && { status: body.status }),
        ...(body.end_time && { end_time: body.end_time }),
        ...(body.run_name && { name: body.run_name }),
      })
      return { run_info: infoView(await tracking.data(run)) }
    },
  ),
  ...(['delete', 'restore'] as const).map((action) =>
    write(`POST /runs/${action}`, `${action} a run`, { body: OfRun }, async ({ tracking }, { body }) => {
      await tracking.updateRun(runOf(body), { state: action === 'delete' ? 'deleted' : 'active' })
      return {}
    }),
  ),
  read('GET /runs/get', 'Show a run', { querystring: OfRun }, async ({ tracking }, { query }) => ({
    run: runView(await tracking.data(runOf(query))),
  })),
  read(
    'POST /runs/search',
    'Search runs',
    {
      body: Type.Object({
        experiment_ids: Type.Optional(Type.Array(Type.String(), { maxItems: 1_000 })),
        filter: text,
        run_view_type: text,
        max_results: number,
        order_by: Type.Optional(Type.Array(Type.String())),
        page_token: text,
      }),
    },
    async ({ tracking }, { body }) => {
      const test = parseFilter(body.filter)
      const all = (await tracking.runs((body.experiment_ids ?? []).map(Number))).filter(
        (run) => seen(body.run_view_type, run.run.state) && test(searched(run)),
      )
      const { items, ...next } = paged(ordered(all, body.order_by), {
        max: body.max_results ?? 1_000,
        ...(body.page_token && { token: body.page_token }),
      })
      return { runs: items.map(runView), ...next }
    },
  ),
  write(
    'POST /runs/log-metric',
    'Log a metric',
    { body: Type.Object({ run_id: text, run_uuid: text, ...Metric.properties }) },
    async ({ tracking }, { body }) => {
      await tracking.log(runOf(body), { metrics: [metricOf(body)] })
      return {}
    },
  ),
  write(
    'POST /runs/log-parameter',
    'Log a parameter',
    {
      body: Type.Object({
        run_id: text,
        run_uuid: text,
        key: Type.String({ maxLength: 250 }),
        value: Type.String({ maxLength: 8_000 }),
      }),
    },
    async ({ tracking }, { body }) => {
      await tracking.log(runOf(body), { params: [[body.key, body.value]] })
      return {}
    },
  ),
  write(
    'POST /runs/log-batch',
    'Log metrics, parameters and tags',
    {
      body: Type.Object({
        run_id: Type.String(),
        metrics: Type.Optional(Type.Array(Metric, { maxItems: 1_000 })),
        params: Pairs,
        tags: Pairs,
      }),
    },
    async ({ tracking }, { body }) => {
      const { run_id, metrics = [], params, tags } = body
      // a client copies what it has logged to the model that it logs: that is no new value
      const own = metrics.filter((metric) => !('model_id' in metric))
      await tracking.log(run_id, { metrics: own.map(metricOf), params: entries(params), tags: entries(tags) })
      return {}
    },
  ),
  write(
    'POST /runs/set-tag',
    'Tag a run',
    { body: Type.Object({ run_id: text, run_uuid: text, key: Type.String(), value: Type.String() }) },
    async ({ tracking }, { body }) => {
      await tracking.log(runOf(body), { tags: [[body.key, body.value]] })
      return {}
    },
  ),
  write(
    'POST /runs/delete-tag',
    'Remove a tag of a run',
    { body: Type.Object({ run_id: Type.String(), key: Type.String() }) },
    async ({ tracking }, { body }) => {
      await tracking.deleteTag(body.run_id, body.key)
      return {}
    },
  ),
  write(
    'POST /runs/outputs',
    'Tell which models a run logged',
    { body: Type.Object({ run_id: Type.String() }) },
    async ({ tracking }, { body }) => {
      await tracking.run(body.run_id) // the model itself says which run it is of
      return {}
    },
  ),
  read(
    'GET /metrics/get-history',
    'All values of a metric',
    {
      querystring: Type.Object({
        run_id: text,
        run_uuid: text,
        metric_key: Type.String(),
        max_results: number,
        page_token: text,
      }),
    },
    async ({ tracking }, { query }) => {
      const all = await tracking.history(runOf(query), query.metric_key)
      const { items, ...next } = paged(all, {
        max: query.max_results ?? 25_000,
        ...(query.page_token && { token: query.page_token }),
      })
      return { metrics: items.map(metricView), ...next }
    },
  ),
]
