import { fail } from '../base/errors.ts'
import { Type } from '../base/schema.ts'
import { alertRules } from '../watch/alerts.ts'
import { route } from './route.ts'

const tag = 'watch'
const Ref = Type.Object({ model: Type.String({ description: 'name, name@version or name@alias' }) })
const Alert = Type.Object({
  id: Type.Integer(),
  rule: Type.String(),
  model: Type.String(),
  version: Type.Integer(),
  message: Type.String(),
  value: Type.Number(),
  level: Type.Number(),
  since: Type.String(),
  until: Type.Optional(Type.String()),
  silenced: Type.Boolean(),
  silencedUntil: Type.Optional(Type.String()),
})
const Rule = Type.Object({
  name: Type.String(),
  rule: Type.String(),
  model: Type.Optional(Type.String()),
  createdAt: Type.String(),
})

const ErrorGroup = Type.Object({
  fingerprint: Type.String(),
  code: Type.String(),
  event: Type.String(),
  model: Type.String(),
  message: Type.String(),
  count: Type.Integer(),
  firstAt: Type.String(),
  lastAt: Type.String(),
  version: Type.Optional(Type.Integer()),
  requests: Type.Array(Type.String()),
})
const Quantiles = Type.Object({ p50: Type.Number(), p95: Type.Number(), p99: Type.Number() })
const point = {
  requests: Type.Integer(),
  rows: Type.Integer(),
  /** Failed by the server's own fault, and by the caller's or for want of room. */
  errors: Type.Integer(),
  refused: Type.Integer(),
  promptTokens: Type.Integer(),
  completionTokens: Type.Integer(),
  /** Seconds. */
  latency: Type.Optional(Quantiles),
  firstToken: Type.Optional(Quantiles),
}
const Points = Type.Object({ at: Type.String(), ...point })
const parts = ['model', 'version', 'door'] as const

export const watchRoutes = [
  route(
    'GET /api/history',
    {
      summary: 'Requests, errors, latencies and tokens by the minute (a day) or the hour (90 days)',
      permission: 'read',
      tag,
    },
    {
      querystring: Type.Object(
        {
          span: Type.Optional(Type.Union([Type.Literal('minute'), Type.Literal('hour')])),
          since: Type.Optional(Type.String()),
          until: Type.Optional(Type.String()),
          model: Type.Optional(Type.String()),
          version: Type.Optional(Type.Integer({ minimum: 1 })),
          door: Type.Optional(Type.String()),
          by: Type.Optional(
            Type.String({
              pattern: '^$|^(model|version|door)(,(model|version|door))*$',
              description: 'what series are told apart by, separated by commas; all together if empty (model)',
            }),
          ),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({
        span: Type.String(),
        since: Type.String(),
        until: Type.String(),
        series: Type.Array(
          Type.Object({
            model: Type.Optional(Type.String()),
            version: Type.Optional(Type.Integer()),
            door: Type.Optional(Type.String()),
            total: Type.Object(point),
            points: Type.Array(Points),
          }),
        ),
      }),
    },
    async ({ history }, { query: { by, ...query } }) =>
      history.read({ ...query, ...(by !== undefined && { by: parts.filter((part) => by.split(',').includes(part)) }) }),
  ),
  route(
    'GET /api/errors',
    { summary: 'Errors that are alike, newest first', permission: 'read', tag },
    {
      querystring: Type.Object(
        {
          model: Type.Optional(Type.String()),
          code: Type.Optional(Type.String()),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({ errors: Type.Array(ErrorGroup) }),
    },
    async ({ errorWatch }, { query }) => ({ errors: await errorWatch.list(query) }),
  ),
  route(
    'GET /api/errors/:fingerprint',
    { summary: 'Errors that are alike, with the stack of the newest', permission: 'admin', tag },
    {
      params: Type.Object({ fingerprint: Type.String({ pattern: '^[0-9a-f]{12}$' }) }),
      response: Type.Object({ ...ErrorGroup.properties, detail: Type.Optional(Type.String()) }),
    },
    async ({ errorWatch }, { params: { fingerprint } }) => {
      const group = await errorWatch.get(fingerprint)
      if (!group) throw fail('ERROR_NOT_FOUND', { fingerprint })
      return group
    },
  ),
  route(
    'GET /api/requests',
    { summary: 'Logged requests, newest first; contents only where they are kept', permission: 'admin', tag },
    {
      querystring: Type.Object(
        {
          model: Type.Optional(Type.String()),
          code: Type.Optional(Type.String()),
          door: Type.Optional(Type.String()),
          request: Type.Optional(Type.String()),
          since: Type.Optional(Type.String()),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
        },
        { additionalProperties: false },
      ),
    },
    async ({ requestLog }, { query }) => ({ requests: await requestLog.list(query) }),
  ),
  route(
    'GET /api/models/:model/drift',
    {
      summary: 'How the requests of a version compare with its held-out rows, window by window',
      permission: 'read',
      tag,
    },
    {
      params: Ref,
      querystring: Type.Object(
        { limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })) },
        { additionalProperties: false },
      ),
    },
    async ({ deployments, drift, feedback }, { params, query }) => {
      const version = await deployments.resolve(params.model)
      const [report, labelled] = await Promise.all([
        drift.report(version, query.limit),
        feedback.accuracy(version.name, version.version),
      ])
      return { ...report, labelled }
    },
  ),
  route(
    'GET /api/alerts',
    { summary: 'Alerts, newest first', permission: 'read', tag },
    {
      querystring: Type.Object(
        {
          open: Type.Optional(Type.Union([Type.Literal('true'), Type.Literal('false')])),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({ alerts: Type.Array(Alert), rules: Type.Record(Type.String(), Type.String()) }),
    },
    async ({ alerts }, { query }) => ({
      alerts: await alerts.list({ open: query.open === 'true', ...(query.limit && { limit: query.limit }) }),
      rules: alertRules,
    }),
  ),
  route(
    'POST /api/alerts/:id/silence',
    { summary: 'Keep an alert from being told of again', permission: 'write', tag, status: 204 },
    {
      params: Type.Object({ id: Type.String({ pattern: '^\\d{1,15}$' }) }),
      body: Type.Object(
        {
          minutes: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 525_600, description: 'for so long; for good if absent' }),
          ),
        },
        { additionalProperties: false },
      ),
    },
    async ({ alerts }, { params, body }) => alerts.silence(Number(params.id), body.minutes),
  ),
  route(
    'GET /api/alerts/rules',
    { summary: 'Rules of alerts', permission: 'read', tag },
    { response: Type.Object({ rules: Type.Array(Rule) }) },
    async ({ rules }) => ({ rules: await rules.list() }),
  ),
  route(
    'PUT /api/alerts/rules/:name',
    { summary: 'Set a rule: alert when it is met, of one model or each', permission: 'write', tag },
    {
      params: Type.Object({ name: Type.String() }),
      body: Type.Object(
        {
          rule: Type.String({ maxLength: 200, description: 'e.g. "p99 > 500ms over 5m" or "burn 99.9%"' }),
          model: Type.Optional(Type.String()),
        },
        { additionalProperties: false },
      ),
      response: Rule,
    },
    async ({ rules, deployments }, { params: { name }, body: { rule, model } }) =>
      rules.set({ name, rule, ...(model !== undefined && { model: (await deployments.resolve(model)).name }) }),
  ),
  route(
    'DELETE /api/alerts/rules/:name',
    { summary: 'End a rule', permission: 'write', tag, status: 204 },
    { params: Type.Object({ name: Type.String() }) },
    async ({ rules }, { params }) => rules.delete(params.name),
  ),
  route(
    'POST /api/feedback',
    { summary: 'Tell the right label of an answered row', permission: 'use', tag },
    {
      body: Type.Object(
        {
          requestId: Type.String({ maxLength: 100 }),
          row: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000 })),
          label: Type.String({ maxLength: 1000 }),
        },
        { additionalProperties: false },
      ),
      response: Type.Object({
        model: Type.String(),
        version: Type.Integer(),
        predicted: Type.String(),
        right: Type.Boolean(),
      }),
    },
    async ({ feedback, deployments }, { body: { requestId, row = 0, label } }) => {
      const told = await feedback.label(requestId, row, label, async (ref) => (await deployments.resolve(ref)).manifest)
      deployments.labelled(told.model, told)
      return told
    },
  ),
  route(
    'POST /api/models/:model/feedback/dataset',
    { summary: 'Make a data set of the labelled texts of a model', permission: 'write', tag, status: 201 },
    { params: Ref, response: Type.Object({ id: Type.String(), filename: Type.String(), rows: Type.Integer() }) },
    async ({ feedback, deployments, datasets, config }, { params }) => {
      const { name } = await deployments.resolve(params.model)
      const texts = await feedback.texts(name)
      if (texts.length === 0) throw fail('FEEDBACK_MISSING', { name })
      const lines = texts.map((row) => Buffer.from(`${JSON.stringify(row)}\n`))
      const { id, filename } = await datasets.add(`${name}-feedback.jsonl`, asyncOf(lines), config.uploadLimit)
      return { id, filename, rows: texts.length }
    },
  ),
]

async function* asyncOf<T>(items: Iterable<T>): AsyncGenerator<T> {
  yield* items
}
