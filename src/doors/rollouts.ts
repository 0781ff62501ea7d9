import { fail } from '../base/errors.ts'
import { checkName } from '../base/ids.ts'
import { Type } from '../base/schema.ts'
import { Composition } from '../bundle/composition.ts'
import { addComposition } from '../serve/compose.ts'
import { Order, Plan } from '../serve/plan.ts'
import { detail, ModelDetail, Named, Ref } from './models.ts'
import { type House, route } from './route.ts'

const tag = 'deployments'
const By = Type.Optional(Type.String({ minLength: 1, maxLength: 100, description: 'Who asks, for the trail' }))
const ByWhom = Type.Object({ by: By }, { additionalProperties: false })

const Count = Type.Object({ seen: Type.Integer(), bad: Type.Integer() })
const Respect = Type.Object({
  stable: Type.Optional(Count),
  candidate: Count,
  worse: Type.Number(),
  fine: Type.Number(),
  slowFromMs: Type.Optional(Type.Number()),
})
const Deployment = Type.Object({
  model: Type.String(),
  plan: Plan,
  trial: Type.Optional(Type.Object({ errors: Respect, p99: Respect, disagreement: Respect, accuracy: Respect })),
  found: Type.Optional(Type.String()),
  shadows: Type.Array(
    Type.Object({
      model: Type.String(),
      version: Type.Integer(),
      shadow: Type.Integer(),
      rows: Type.Integer(),
      disagreed: Type.Integer(),
      failed: Type.Integer(),
      dropped: Type.Integer(),
      pairs: Type.Array(Type.Object({ answer: Type.String(), shadow: Type.String(), count: Type.Integer() })),
    }),
  ),
})

/** How a model is served; what is null is taken back. */
const whole = (maximum: number) => Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum }), Type.Null()]))
const Serving = Type.Object(
  {
    pinned: Type.Optional(Type.Union([Type.Boolean(), Type.Null()])),
    keepAlive: Type.Optional(Type.Union([Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), Type.Null()])),
    replicas: whole(64),
    threads: whole(256),
    tokenBudget: whole(10_000_000),
  },
  { additionalProperties: false },
)

/** Who the trail names: the key's owner; without keys whoever the caller says it is. */
const actorOf = ({ who, access }: House, by: string | undefined) =>
  access.keysRequired ? who.actor : (by ?? who.actor)

/** Throws MODEL_NOT_FOUND, or DEPLOYMENT_NOT_FOUND where a model has none. */
async function show({ rollouts, deployments }: House, model: string) {
  const found = rollouts.list().find((one) => one.model === model)
  if (found) return { ...found, shadows: deployments.shadows(model) }
  await deployments.resolve(model)
  throw fail('DEPLOYMENT_NOT_FOUND', { name: model })
}

export const rolloutRoutes = [
  route(
    'POST /api/models/:name/pipeline',
    {
      summary: 'Register classifiers that answer as one (averaged, or chosen by a label) as the next version',
      permission: 'write',
      tag: 'models',
      status: 201,
    },
    {
      params: Named,
      body: Type.Object(
        { ...Composition.properties, description: Type.Optional(Type.String({ maxLength: 2000 })) },
        { additionalProperties: false },
      ),
      response: ModelDetail,
    },
    async (house, { params, body }) => {
      const resolve = (ref: string) => house.deployments.resolve(ref)
      return detail(house, await addComposition(house.registry, resolve, params.name, body))
    },
  ),
  route(
    'GET /api/deployments',
    { summary: 'List deployments: versions with weights, trials and shadows', permission: 'read', tag },
    { response: Type.Object({ deployments: Type.Array(Deployment) }) },
    async (house) => ({
      deployments: await Promise.all(house.rollouts.list().map(({ model }) => show(house, model))),
    }),
  ),
  route(
    'GET /api/deployments/:name',
    { summary: 'Show a deployment, what its trial has found, and where a shadow disagrees', permission: 'read', tag },
    { params: Named, response: Deployment },
    async (house, { params }) => show(house, params.name),
  ),
  route(
    'PUT /api/deployments/:name',
    {
      summary: 'Deploy a version, try a canary, set weights, or mirror requests to a shadow',
      permission: 'write',
      tag,
    },
    {
      params: Named,
      body: Type.Object({ ...Order.properties, by: By }, { additionalProperties: false }),
      response: Deployment,
    },
    async (house, { params, body: { by, ...order } }) => {
      checkName(params.name)
      await house.rollouts.deploy(params.name, order, actorOf(house, by))
      return show(house, params.name)
    },
  ),
  ...(['rollback', 'promote'] as const).map((action) =>
    route(
      `POST /api/deployments/:name/${action}`,
      {
        summary: action === 'rollback' ? 'End a trial, or go back to the version before' : 'Give a canary all requests',
        permission: 'write',
        tag,
      },
      { params: Named, body: ByWhom, response: Deployment },
      async (house, { params, body: { by } }) => {
        await house.rollouts[action](params.name, actorOf(house, by))
        return show(house, params.name)
      },
    ),
  ),
  route(
    'DELETE /api/deployments/:name',
    { summary: 'End a deployment: the newest version answers again', permission: 'write', tag, status: 204 },
    { params: Named },
    async ({ rollouts, who }, { params }) => {
      await rollouts.remove(params.name, who.actor)
    },
  ),
  route(
    'GET /api/deployments/:name/changes',
    { summary: 'Every change of a deployment, newest first', permission: 'read', tag },
    {
      params: Named,
      querystring: Type.Object(
        { limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })) },
        { additionalProperties: false },
      ),
    },
    async ({ rollouts }, { params, query }) => ({
      changes: await rollouts.changes({ ref: params.name, ...query }),
    }),
  ),
  route(
    'GET /api/models/:name/serving',
    { summary: 'How a model is served: pinned, keep-alive, replicas, threads', permission: 'read', tag },
    { params: Named, response: Serving },
    async ({ rollouts, deployments }, { params }) => {
      await deployments.resolve(params.name)
      return rollouts.servingOf(params.name)
    },
  ),
  route(
    'POST /api/models/:model/tune',
    {
      summary: 'Measure threads, replicas and batches of a version on its examples, and keep the best',
      permission: 'write',
      tag,
    },
    {
      params: Ref,
      response: Type.Object({
        measured: Type.Array(
          Type.Object({
            threads: Type.Integer(),
            replicas: Type.Integer(),
            tokenBudget: Type.Optional(Type.Integer()),
            perSecond: Type.Number(),
            alone: Type.Number(),
            memory: Type.Integer(),
          }),
        ),
        chosen: Serving,
      }),
    },
    async ({ deployments }, { params }) => deployments.tune(params.model),
  ),
  route(
    'PUT /api/models/:name/serving',
    { summary: 'Change how a model is served, without a failed request', permission: 'write', tag },
    { params: Named, body: Serving, response: Serving },
    async ({ deployments }, { params, body }) => deployments.serve(params.name, body),
  ),
]
