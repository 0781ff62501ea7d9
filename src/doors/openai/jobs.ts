import { fail } from '../../base/errors.ts'
import { type Static, Type } from '../../base/schema.ts'
import type { Run, RunSpec, RunState, TrainEvent } from '../../train/events.ts'
import { findModel } from '../ask.ts'
import { type House, route } from '../route.ts'
import { asTrainable } from './examples.ts'
import { seconds, tag } from './models.ts'
import { page } from './page.ts'
import { auto, integer, text } from './schema.ts'

/**
 * Fine-tuning jobs are training runs seen through OpenAI's words: the base model is a family, or a model here that can be
 * trained on; the end is a version.
 */
const statusOf: Record<RunState, string> = {
  queued: 'queued',
  preparing: 'validating_files',
  training: 'running',
  refining: 'running',
  evaluating: 'running',
  measuring: 'running',
  registering: 'running',
  done: 'succeeded',
  failed: 'failed',
  cancelled: 'cancelled',
  interrupted: 'paused',
}

const Hyperparameters = Type.Object({
  n_epochs: auto('integer', { minimum: 1, maximum: 10_000 }),
  batch_size: auto('integer', { minimum: 1, maximum: 4096 }),
  learning_rate_multiplier: auto('number', { exclusiveMinimum: 0, maximum: 1000 }),
})
const NewJob = Type.Object({
  model: Type.String(),
  training_file: Type.String(),
  validation_file: text(),
  suffix: text({ minLength: 1, maxLength: 64 }),
  seed: integer({ minimum: 0, maximum: 2147483647 }),
  hyperparameters: Type.Optional(Hyperparameters),
  method: Type.Optional(
    Type.Object({
      type: Type.String(),
      supervised: Type.Optional(Type.Object({ hyperparameters: Type.Optional(Hyperparameters) })),
    }),
  ),
  integrations: Type.Optional(Type.Unsafe<unknown[] | null>({ type: ['array', 'null'], maxItems: 5 })),
})
type Given = Static<typeof NewJob>

const numberOf = (value: number | 'auto' | undefined) => (typeof value === 'number' ? value : undefined)

/** What a job starts from: a family by its name, or a model of ours; throws BAD_REQUEST naming the families. */
async function baseOf(house: House, model: string) {
  const { describeFamilies } = await import('../../train/job.ts')
  const known = describeFamilies()
  const family = known.find(({ name }) => name === model)
  if (family) return { family, spec: { family: model } }
  const version = await findModel(house, model).catch(() => undefined)
  const own = version && known.find(({ name }) => name === version.manifest.family)
  if (version && own) return { family: own, spec: { family: own.name, from: `${version.name}@${version.version}` } }
  throw fail('BAD_REQUEST', {
    message: `model: "${model.slice(0, 80)}" is no model that can be trained here; families are ${known.map(({ name }) => name).join(', ')}`,
    param: 'model',
  })
}

type Family = Awaited<ReturnType<typeof baseOf>>['family']

function optionsFor({ options }: Family, given: NonNullable<Given['hyperparameters']>) {
  const [epochs, batchSize] = [numberOf(given.n_epochs), numberOf(given.batch_size)]
  const multiplier = numberOf(given.learning_rate_multiplier)
  return {
    ...(epochs !== undefined && { epochs }),
    ...(batchSize !== undefined && { batchSize }),
    ...(multiplier !== undefined && { learningRate: Number(options.learningRate.default) * multiplier }),
  }
}

async function create(house: House, body: Given): Promise<Run> {
  const { method, suffix, seed, validation_file, integrations } = body
  if (method && method.type !== 'supervised')
    throw fail('BAD_REQUEST', {
      message: `method.type: only "supervised", got "${method.type.slice(0, 40)}"`,
      param: 'method',
    })
  if (integrations?.length)
    throw fail('BAD_REQUEST', { message: 'integrations: none are known here', param: 'integrations' })
  const { family, spec } = await baseOf(house, body.model)
  const options = optionsFor(family, method?.supervised?.hyperparameters ?? body.hyperparameters ?? {})
  // a model that writes learns conversations as they are, a classifier what is answered to what is said
  const prepare = (file: string) =>
    family.task === 'text-generation' ? house.datasets.get(file).then(({ id }) => id) : asTrainable(house, file)
  const dataset = await prepare(body.training_file)
  const validation = validation_file ? await prepare(validation_file) : undefined
  return house.runs.create({
    ...spec,
    dataset,
    ...(validation !== undefined && { validation }),
    ...(suffix && { name: suffix.toLowerCase() }),
    ...(typeof seed === 'number' && { seed }),
    ...(Object.keys(options).length > 0 && { options }),
  })
}

const isOver = (state: RunState) => state === 'done' || state === 'failed' || state === 'cancelled'

/** Refinements are runs too, and no jobs. */
const isTraining = ({ spec }: Run) => 'dataset' in spec

function entry({ run, model, state, spec, createdAt, updatedAt, version, error }: Run) {
  const { options = {}, family = 'lstm', from, dataset, validation, seed } = spec as RunSpec
  const hyperparameters = {
    n_epochs: options.epochs ?? 'auto',
    batch_size: options.batchSize ?? 'auto',
    learning_rate_multiplier: 'auto',
  }
  return {
    id: run,
    object: 'fine_tuning.job',
    created_at: seconds(createdAt),
    finished_at: isOver(state) ? seconds(updatedAt) : null,
    model: from ?? family,
    fine_tuned_model: version === undefined ? null : `${model}@${version}`,
    organization_id: 'athanor',
    status: statusOf[state],
    hyperparameters,
    method: { type: 'supervised', supervised: { hyperparameters } },
    training_file: dataset,
    validation_file: validation ?? null,
    result_files: [],
    trained_tokens: null,
    error: error ? { code: error.code.toLowerCase(), message: `${error.message}. ${error.hint}`, param: null } : null,
    seed: seed ?? 1,
    estimated_finish: null,
    integrations: [],
    metadata: null,
  }
}

/** What an event says in a line, its level, and its numbers. */
function describe(event: TrainEvent): { level: string; message: string; data?: Record<string, unknown> } | undefined {
  switch (event.type) {
    case 'state':
      return { level: 'info', message: `The job is ${statusOf[event.state]} (${event.state})` }
    case 'model':
      return { level: 'info', message: `${event.family} with ${event.parameters} parameters` }
    case 'step':
      return {
        level: 'info',
        message: `Step ${event.step}/${event.steps}: training loss=${event.loss.toFixed(4)}`,
        data: { step: event.step, total_steps: event.steps, train_loss: event.loss },
      }
    case 'epoch':
      return {
        level: 'info',
        message: `Epoch ${event.epoch}/${event.epochs}: validation ${Object.entries(event.validation)
          .map(([name, value]) => `${name}=${value.toFixed(4)}`)
          .join(', ')}`,
        data: { epoch: event.epoch, train_loss: event.loss, ...event.validation },
      }
    case 'done':
      return { level: 'info', message: `New fine-tuned model created: ${event.model}@${event.version}` }
    case 'failed':
      return { level: 'error', message: `${event.error.message}. ${event.error.hint}` }
    default:
      return undefined
  }
}

const ByJob = Type.Object({ job: Type.String() })
const pages = (maximum: number) =>
  Type.Object({
    after: Type.Optional(Type.String()),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum })),
  })

export const jobRoutes = [
  route(
    'POST /v1/fine_tuning/jobs',
    { summary: 'Train a model of a family on an uploaded file', permission: 'write', tag },
    { body: NewJob },
    async (house, { body }) => entry(await create(house, body)),
  ),
  route(
    'GET /v1/fine_tuning/jobs',
    { summary: 'List fine-tuning jobs, newest first', permission: 'read', tag },
    { querystring: pages(1000) },
    async ({ runs }, { query }) => page((await runs.list()).filter(isTraining).map(entry), { limit: 20, ...query }),
  ),
  route(
    'GET /v1/fine_tuning/jobs/:job',
    { summary: 'Show a fine-tuning job', permission: 'read', tag },
    { params: ByJob },
    async ({ runs }, { params }) => entry(await runs.get(params.job)),
  ),
  route(
    'GET /v1/fine_tuning/jobs/:job/events',
    { summary: 'What a job has told, newest first', permission: 'read', tag },
    { params: ByJob, querystring: pages(1000) },
    async ({ runs }, { params, query }) => {
      const told = (await runs.history(params.job)).flatMap(({ id, at, event }) => {
        const said = describe(event)
        if (!said) return []
        const { level, message, data } = said
        const type = data ? 'metrics' : 'message'
        const head = { object: 'fine_tuning.job.event', id: `ftevent-${id}`, created_at: seconds(at) }
        return [{ ...head, level, message, type, data: data ?? {} }]
      })
      return page(told.reverse(), { limit: 20, ...query })
    },
  ),
  route(
    'GET /v1/fine_tuning/jobs/:job/checkpoints',
    { summary: 'The checkpoint that became a version', permission: 'read', tag },
    { params: ByJob, querystring: pages(100) },
    async ({ runs }, { params, query }) => {
      const { run, model, version } = await runs.get(params.job)
      const history = await runs.history(run)
      // of a run one epoch is kept, the best; it is what the registered version holds
      const best = history.findLast(({ event }) => event.type === 'epoch' && event.best)
      const kept = version !== undefined && best?.event.type === 'epoch' ? [{ ...best, event: best.event }] : []
      const list = kept.map(({ id, at, event }) => {
        const step = history.findLast((one) => one.id < id && one.event.type === 'step')?.event
        const number = step?.type === 'step' ? step.step : event.epoch
        const { loss, accuracy } = event.validation
        return {
          id: `ftckpt-${id}`,
          object: 'fine_tuning.job.checkpoint',
          created_at: seconds(at),
          fine_tuned_model_checkpoint: `${model}@${version}`,
          fine_tuning_job_id: run,
          step_number: number,
          metrics: {
            step: number,
            train_loss: event.loss,
            ...(loss !== undefined && { valid_loss: loss }),
            ...(accuracy !== undefined && { valid_mean_token_accuracy: accuracy }),
          },
        }
      })
      return page(list, { limit: 10, ...query })
    },
  ),
  ...(['cancel', 'pause', 'resume'] as const).map((action) =>
    route(
      `POST /v1/fine_tuning/jobs/:job/${action}`,
      { summary: `${action[0].toUpperCase()}${action.slice(1)} a fine-tuning job`, permission: 'write', tag },
      { params: ByJob },
      async ({ runs }, { params }) => entry(await runs[action === 'pause' ? 'interrupt' : action](params.job)),
    ),
  ),
]
