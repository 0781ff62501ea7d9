import { periods } from '../access/limits.ts'
import { roles } from '../access/roles.ts'
import { usageCsv } from '../access/usage.ts'
import { fail } from '../base/errors.ts'
import { Type } from '../base/schema.ts'
import { doorNames } from './door-names.ts'
import { route } from './route.ts'

const tag = 'access'
const closed = { additionalProperties: false }
const Role = Type.Unsafe<(typeof roles)[number]>({ type: 'string', enum: roles })
const Limits = Type.Object(
  {
    requestsPerMinute: Type.Optional(Type.Integer({ minimum: 0 })),
    tokensPerMinute: Type.Optional(Type.Integer({ minimum: 0 })),
    concurrent: Type.Optional(Type.Integer({ minimum: 0 })),
    budget: Type.Optional(Type.Number({ minimum: 0 })),
    period: Type.Optional(Type.Unsafe<(typeof periods)[number]>({ type: 'string', enum: periods })),
  },
  closed,
)
const Key = Type.Object({
  id: Type.String(),
  prefix: Type.String(),
  tenant: Type.String(),
  name: Type.String(),
  user: Type.Optional(Type.String()),
  role: Type.String(),
  models: Type.Optional(Type.Array(Type.String())),
  doors: Type.Optional(Type.Array(Type.String())),
  limits: Limits,
  createdAt: Type.String(),
  createdBy: Type.String(),
  expiresAt: Type.Optional(Type.String()),
  revokedAt: Type.Optional(Type.String()),
  lastUsedAt: Type.Optional(Type.String()),
})
/** The key itself is told here and never again. */
const NewKey = Type.Object({ key: Type.String(), about: Key })
const Tenant = Type.Object({
  tenant: Type.String(),
  limits: Limits,
  createdAt: Type.String(),
  closedAt: Type.Optional(Type.String()),
})
const User = Type.Object({
  tenant: Type.String(),
  name: Type.String(),
  role: Type.String(),
  createdAt: Type.String(),
  disabledAt: Type.Optional(Type.String()),
})
const Price = Type.Object({
  tenant: Type.String(),
  model: Type.String(),
  request: Type.Number(),
  input: Type.Number(),
  output: Type.Number(),
})
const Left = Type.Object({ limit: Type.Number(), remaining: Type.Number(), reset: Type.Number() })
const Budget = Type.Object({
  budget: Type.Number(),
  period: Type.String(),
  spent: Type.Number(),
  remaining: Type.Number(),
  resetsAt: Type.Optional(Type.String()),
})
const ById = Type.Object({ id: Type.String() })
const ByTenant = Type.Object({ tenant: Type.String() })
const Day = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}$' })

export const accessRoutes = [
  route(
    'GET /api/login',
    {
      summary: 'Where people sign in, and for which audience; nothing where only keys are known',
      permission: 'public',
      tag,
    },
    {
      response: Type.Object({ issuer: Type.Optional(Type.String()), audience: Type.Optional(Type.String()) }),
    },
    async ({ access }) => ({ ...access.login }),
  ),
  route(
    'GET /api/whoami',
    { summary: 'Who the caller is, and what is left of the limits', permission: 'read', tag },
    {
      response: Type.Object({
        key: Type.String(),
        tenant: Type.String(),
        role: Type.String(),
        operator: Type.Boolean(),
        models: Type.Optional(Type.Array(Type.String())),
        doors: Type.Optional(Type.Array(Type.String())),
        left: Type.Object({ requests: Type.Optional(Left), tokens: Type.Optional(Left) }),
        budgets: Type.Array(Budget),
      }),
    },
    async ({ who, access }) => {
      const { id, tenant, role, operator, models, doors } = who
      return {
        key: id,
        tenant,
        role,
        operator,
        ...(models && { models: [...models] }),
        ...(doors && { doors: [...doors] }),
        left: access.ledger.left(who),
        budgets: await access.ledger.budgets(who),
      }
    },
  ),
  route(
    'GET /api/keys',
    { summary: 'List the keys of a tenant', permission: 'admin', tag },
    { response: Type.Object({ keys: Type.Array(Key) }) },
    async ({ access, tenant }) => ({ keys: access.keys.list(tenant) }),
  ),
  route(
    'POST /api/keys',
    { summary: 'Make a key; it is told this once', permission: 'admin', tag, status: 201 },
    {
      body: Type.Object(
        {
          name: Type.String(),
          role: Type.Optional(Role),
          user: Type.Optional(Type.String({ maxLength: 128 })),
          models: Type.Optional(
            Type.Array(Type.String({ minLength: 1, maxLength: 128 }), { minItems: 1, maxItems: 100 }),
          ),
          doors: Type.Optional(
            Type.Array(Type.Unsafe<string>({ type: 'string', enum: doorNames }), { minItems: 1, maxItems: 20 }),
          ),
          limits: Type.Optional(Limits),
          expiresAt: Type.Optional(Type.String({ maxLength: 40 })),
        },
        closed,
      ),
      response: NewKey,
    },
    async ({ access, tenant, who }, { body }) => {
      const { key, token } = await access.keys.create(tenant, who.actor, body)
      return { key: token, about: key }
    },
  ),
  route(
    'POST /api/keys/:id/rotate',
    { summary: 'Give a key a new secret; the old one works on for so many seconds', permission: 'admin', tag },
    {
      params: ById,
      body: Type.Object({ graceSeconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 30 * 86_400 })) }, closed),
      response: NewKey,
    },
    async ({ access, tenant }, { params, body }) => {
      const { key, token } = await access.keys.rotate(tenant, params.id, (body.graceSeconds ?? 0) * 1000)
      return { key: token, about: key }
    },
  ),
  route(
    'PUT /api/keys/:id/limits',
    { summary: 'Set what a key may use', permission: 'admin', tag },
    { params: ById, body: Limits, response: Key },
    async ({ access, tenant }, { params, body }) => {
      const key = await access.keys.setLimits(tenant, params.id, body)
      await access.ledger.limitsChanged()
      return key
    },
  ),
  route(
    'DELETE /api/keys/:id',
    { summary: 'Revoke a key, at once', permission: 'admin', tag, status: 204 },
    { params: ById },
    async ({ access, tenant }, { params }) => access.keys.revoke(tenant, params.id),
  ),
  route(
    'GET /api/users',
    { summary: 'List the users of a tenant', permission: 'admin', tag },
    { response: Type.Object({ users: Type.Array(User) }) },
    async ({ access, tenant }) => ({ users: access.keys.users(tenant) }),
  ),
  route(
    'PUT /api/users/:name',
    { summary: 'Add a user, change the role of one, or disable one and all of its keys', permission: 'admin', tag },
    {
      params: Type.Object({ name: Type.String() }),
      body: Type.Object({ role: Role, disabled: Type.Optional(Type.Boolean()) }, closed),
      response: User,
    },
    async ({ access, tenant }, { params, body }) => access.keys.setUser(tenant, params.name, body),
  ),
  route(
    'GET /api/tenants',
    { summary: 'List tenants', permission: 'operate', tag },
    { response: Type.Object({ tenants: Type.Array(Tenant) }) },
    async ({ access }) => ({ tenants: access.tenants.list() }),
  ),
  route(
    'PUT /api/tenants/:tenant',
    { summary: 'Make a tenant, or set what it may use', permission: 'operate', tag },
    { params: ByTenant, body: Type.Object({ limits: Type.Optional(Limits) }, closed), response: Tenant },
    async ({ access }, { params, body }) => {
      const tenant = await access.tenants.set(params.tenant, body.limits)
      await access.reload()
      return tenant
    },
  ),
  route(
    'DELETE /api/tenants/:tenant',
    {
      summary: 'Close a tenant: its keys do nothing from then on, what it has is kept',
      permission: 'operate',
      tag,
      status: 204,
    },
    { params: ByTenant },
    async ({ access }, { params }) => {
      await access.tenants.close(params.tenant)
      await access.reload()
    },
  ),
  route(
    'GET /api/prices',
    { summary: 'Prices that count for the tenant', permission: 'read', tag },
    { response: Type.Object({ prices: Type.Array(Price) }) },
    async ({ access, tenant }) => ({ prices: access.prices.list(tenant) }),
  ),
  route(
    'PUT /api/prices/:tenant/:model',
    {
      summary: 'Set what a model costs: a request, a thousand tokens read, a thousand written; * for all',
      permission: 'operate',
      tag,
    },
    {
      params: Type.Object({ tenant: Type.String(), model: Type.String() }),
      body: Type.Object(
        {
          request: Type.Optional(Type.Number({ minimum: 0 })),
          input: Type.Optional(Type.Number({ minimum: 0 })),
          output: Type.Optional(Type.Number({ minimum: 0 })),
        },
        closed,
      ),
      response: Type.Object({ prices: Type.Array(Price) }),
    },
    async ({ access }, { params: { tenant, model }, body }) => {
      for (const name of [tenant, model])
        if (!/^(\*|[a-z0-9][a-z0-9._-]{0,127})$/.test(name)) throw fail('NAME_INVALID', { name: name.slice(0, 80) })
      await access.prices.set(tenant, model, body)
      return { prices: access.prices.list() }
    },
  ),
  route(
    'DELETE /api/prices/:tenant/:model',
    { summary: 'Remove a price', permission: 'operate', tag, status: 204 },
    { params: Type.Object({ tenant: Type.String(), model: Type.String() }) },
    async ({ access }, { params }) => access.prices.remove(params.tenant, params.model),
  ),
  route(
    'GET /api/usage',
    {
      summary: 'Usage by tenant, day, model and key, as JSON or CSV; operators may ask for all tenants',
      permission: 'admin',
      tag,
    },
    {
      querystring: Type.Object(
        {
          from: Type.Optional(Day),
          to: Type.Optional(Day),
          all: Type.Optional(Type.Boolean()),
          format: Type.Optional(Type.Unsafe<'json' | 'csv'>({ type: 'string', enum: ['json', 'csv'] })),
        },
        closed,
      ),
    },
    async ({ access, tenant, who }, { query: { all, format, ...days }, reply }) => {
      await access.ledger.save()
      const usage = await access.usage.list({ ...days, ...(!(all && who.operator) && { tenant }) })
      if (format !== 'csv') return { usage }
      reply.type('text/csv; charset=utf-8').header('content-disposition', 'attachment; filename="usage.csv"')
      return usageCsv(usage)
    },
  ),
  route(
    'GET /api/audit',
    { summary: 'Who did what, newest first; operators may ask for all tenants', permission: 'admin', tag },
    {
      querystring: Type.Object(
        {
          actor: Type.Optional(Type.String({ maxLength: 200 })),
          all: Type.Optional(Type.Boolean()),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
        },
        closed,
      ),
    },
    async ({ access, tenant, who }, { query: { all, ...filter } }) => ({
      entries: await access.audit.list({ ...filter, ...(!(all && who.operator) && { tenant }) }),
    }),
  ),
]
