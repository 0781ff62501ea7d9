import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import type { LoggedModel } from '../../store/tracking.ts'
import type { House } from '../route.ts'
import { artifactsOf, type Pair, Pairs, pairs, read, record, SCHEME, text, write } from './api.ts'

const modelView = (model: LoggedModel) => ({
  info: {
    model_id: model.id,
    experiment_id: String(model.experiment),
    name: model.name,
    creation_timestamp_ms: model.created_at,
    last_updated_timestamp_ms: model.updated_at,
    artifact_uri: artifactsOf(model.experiment, `models/${model.id}`),
    status: model.status,
    model_type: model.kind,
    ...(model.run !== null && { source_run_id: model.run }),
    tags: pairs(JSON.parse(model.tags) as Record<string, string>),
  },
  data: { params: pairs(JSON.parse(model.params) as Record<string, string>) },
})

/** The folder of artifacts that a logged model has. */
export const folderOf = (model: LoggedModel) => artifactsOf(model.experiment, `models/${model.id}`).slice(SCHEME.length)

async function changeTags({ tracking }: House, model: string, change: (tags: Record<string, string>) => void) {
  const tags = JSON.parse((await tracking.model(model)).tags) as Record<string, string>
  change(tags)
  await tracking.updateModel(model, { tags: JSON.stringify(tags) })
  return {}
}

export const loggedModelRoutes = [
  write(
    'POST /logged-models',
    'Begin to log a model',
    {
      body: Type.Object({
        experiment_id: Type.String(),
        name: text,
        model_type: text,
        source_run_id: text,
        params: Pairs,
        tags: Pairs,
      }),
    },
    async ({ tracking }, { body }) => {
      const { experiment_id, name = 'model', model_type = '', source_run_id, params, tags } = body
      const about = { experiment: Number(experiment_id), run: source_run_id ?? null, name, kind: model_type }
      const stored = { params: JSON.stringify(record(params)), tags: JSON.stringify(record(tags)) }
      return { model: modelView(await tracking.createModel({ ...about, ...stored })) }
    },
  ),
  read(
    'GET /logged-models/:id',
    'Show a logged model',
    { params: Type.Object({ id: Type.String() }) },
    async ({ tracking }, { params }) => ({
      model: modelView(await tracking.model(params.id)),
    }),
  ),
  write(
    'PATCH /logged-models/:id',
    'Say that a model is logged',
    {
      params: Type.Object({ id: Type.String() }),
      body: Type.Object({ status: Type.Union([Type.String(), Type.Number()]) }),
    },
    async ({ tracking }, { params, body }) => {
      const status = String(body.status)
      if (!/^LOGGED_MODEL_(PENDING|READY|UPLOAD_FAILED)$/.test(status))
        throw fail('BAD_REQUEST', { message: 'status: expected LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED' })
      return { model: modelView(await tracking.updateModel(params.id, { status })) }
    },
  ),
  write(
    'PATCH /logged-models/:id/tags',
    'Tag a logged model',
    { params: Type.Object({ id: Type.String() }), body: Type.Object({ tags: Pairs }) },
    async (house, { params, body }) =>
      changeTags(house, params.id, (tags) => void Object.assign(tags, record(body.tags))),
  ),
  write(
    'DELETE /logged-models/:id/tags/:key',
    'Remove a tag of a logged model',
    { params: Type.Object({ id: Type.String(), key: Type.String() }) },
    async (house, { params }) =>
      changeTags(house, params.id, (tags) => {
        delete tags[params.key]
      }),
  ),
  write(
    'POST /logged-models/:id/params',
    'Add parameters of a logged model',
    { params: Type.Object({ id: Type.String() }), body: Type.Record(Type.String(), Type.Unknown()) },
    async ({ tracking }, { params, body }) => {
      const { params: known } = await tracking.model(params.id)
      const all = { ...(JSON.parse(known) as object), ...record(body.params as Pair[]) }
      await tracking.updateModel(params.id, { params: JSON.stringify(all) })
      return {}
    },
  ),
]
