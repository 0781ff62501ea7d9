import { writeFile } from 'node:fs/promises'
import type { Key, Limits, Role } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { given, secondsOf, wholeNumber } from '../reading.ts'
import { ago } from '../terminal.ts'

export interface LimitFlags {
  requestsPerMinute?: string
  tokensPerMinute?: string
  concurrent?: string
  budget?: string
  period?: 'day' | 'month' | 'total'
}

export interface KeyFlags extends LimitFlags {
  role?: Role
  user?: string
  models?: string
  doors?: string
  expires?: string
  grace?: string
}

const listOf = (value: string) => value.split(',').map((one) => one.trim())

/** An amount of money or tokens; throws OPTION_INVALID. */
function amount(option: string, value: string): number {
  if (!/^\d{1,9}(\.\d{1,9})?$/.test(value))
    throw fail('OPTION_INVALID', { option, reason: `expected a number, got "${value.slice(0, 40)}"` })
  return Number(value)
}

/** Limits as far as flags give them; undefined where none does. */
function limitsOf({ requestsPerMinute, tokensPerMinute, concurrent, budget, period }: LimitFlags): Limits | undefined {
  const limits: Limits = {
    ...(requestsPerMinute !== undefined && {
      requestsPerMinute: wholeNumber('requests-per-minute', requestsPerMinute),
    }),
    ...(tokensPerMinute !== undefined && { tokensPerMinute: wholeNumber('tokens-per-minute', tokensPerMinute) }),
    ...(concurrent !== undefined && { concurrent: wholeNumber('concurrent', concurrent) }),
    ...(budget !== undefined && { budget: amount('budget', budget) }),
    ...(period !== undefined && { period }),
  }
  return Object.keys(limits).length > 0 ? limits : undefined
}

/** `budget 20 a month, 60 requests/min` */
function described({ requestsPerMinute, tokensPerMinute, concurrent, budget, period }: Limits): string {
  const parts = [
    budget !== undefined && `budget ${budget}${period === 'total' ? '' : ` a ${period}`}`,
    requestsPerMinute !== undefined && `${requestsPerMinute} requests/min`,
    tokensPerMinute !== undefined && `${tokensPerMinute} tokens/min`,
    concurrent !== undefined && `${concurrent} at a time`,
  ]
  return parts.filter(Boolean).join(', ')
}

const needed = (what: string, value: string | undefined): string => {
  if (value === undefined) throw fail('OPTION_INVALID', { option: what, reason: 'it is missing' })
  return value
}
const unknownAction = (action: string, known: string) =>
  fail('OPTION_INVALID', { option: 'action', reason: `expected ${known}, got "${action.slice(0, 40)}"` })

/** Makes, lists, changes and ends keys. A key is printed once, alone on standard output. */
export async function keys({ client, out }: Context, action: string, name: string | undefined, flags: KeyFlags) {
  const tell = ({ key, about }: { key: string; about: Key }) => {
    if (out.json) return out.document({ key, ...about })
    out.say(`key ${about.id}: ${about.role} of the tenant "${about.tenant}". It is not shown again:`)
    out.data(key)
  }
  switch (action) {
    case 'create': {
      const { role, user, models, doors, expires } = flags
      const limits = limitsOf(flags)
      const given = {
        name: needed('name', name),
        ...(role && { role }),
        ...(user && { user }),
        ...(models && { models: listOf(models) }),
        ...(doors && { doors: listOf(doors) }),
        ...(limits && { limits }),
        ...(expires && { expiresAt: new Date(Date.now() + secondsOf('expires', expires) * 1000).toISOString() }),
      }
      return tell(await client.keys.create(given))
    }
    case 'rotate': {
      const graceSeconds = flags.grace === undefined ? 0 : secondsOf('grace', flags.grace)
      return tell(await client.keys.rotate(needed('key', name), { graceSeconds }))
    }
    case 'limit': {
      const key = await client.keys.setLimits(needed('key', name), limitsOf(flags) ?? {})
      return out.json ? out.document(key) : out.say(`key ${key.id}: ${described(key.limits) || 'no limits of its own'}`)
    }
    case 'revoke':
      await client.keys.revoke(needed('key', name))
      return out.json ? out.document({ revoked: name }) : out.say(`key ${name} is revoked`)
    case 'list': {
      const all = await client.keys.list()
      if (out.json) return out.document(all)
      if (all.length === 0) return out.say('no keys yet. Make one:  athanor keys create NAME')
      const state = ({ revokedAt, expiresAt }: Key) =>
        revokedAt ? 'revoked' : expiresAt && Date.parse(expiresAt) < Date.now() ? 'expired' : 'works'
      return out.table(
        ['KEY', 'NAME', 'USER', 'ROLE', 'STATE', 'FOR', 'LIMITS', 'USED'],
        all.map((key) => [
          key.id,
          key.name,
          key.user ?? '',
          key.role,
          state(key),
          [...(key.models ?? []), ...(key.doors ?? [])].join(' '),
          described(key.limits),
          key.lastUsedAt ? ago(key.lastUsedAt) : '',
        ]),
      )
    }
    default:
      throw unknownAction(action, 'create, list, limit, rotate or revoke')
  }
}

/** Makes, lists, limits and closes tenants. */
export async function tenants({ client, out }: Context, action: string, name: string | undefined, flags: LimitFlags) {
  switch (action) {
    case 'create':
    case 'set': {
      // no flags: a new tenant without limits, or those of a known one taken away
      const limits = limitsOf(flags) ?? (action === 'set' ? {} : undefined)
      const tenant = await client.tenants.set(needed('tenant', name), limits)
      if (out.json) return out.document(tenant)
      out.say(`tenant "${tenant.tenant}": ${described(tenant.limits) || 'no limits'}`)
      return out.next(`athanor keys create NAME --tenant ${tenant.tenant}`)
    }
    case 'close':
      await client.tenants.close(needed('tenant', name))
      if (out.json) return out.document({ closed: name })
      return out.say(`tenant "${name}" is closed; what it has is kept, and "create" opens it again`)
    case 'list': {
      const all = await client.tenants.list()
      if (out.json) return out.document(all)
      return out.table(
        ['TENANT', 'STATE', 'LIMITS', 'CREATED'],
        all.map(({ tenant, closedAt, limits, createdAt }) => [
          tenant,
          closedAt ? 'closed' : 'open',
          described(limits),
          ago(createdAt),
        ]),
      )
    }
    default:
      throw unknownAction(action, 'create, list, set or close')
  }
}

/** Lists people, adds them, changes their roles, disables them. */
export async function users(
  { client, out }: Context,
  action: string,
  name: string | undefined,
  { role = 'user', disable }: { role?: Role; disable?: boolean },
) {
  if (action === 'set') {
    const user = await client.users.set(needed('user', name), { role, ...(disable && { disabled: true }) })
    return out.json ? out.document(user) : out.say(`${user.name}: ${user.disabledAt ? 'disabled' : user.role}`)
  }
  if (action !== 'list') throw unknownAction(action, 'list or set')
  const all = await client.users.list()
  if (out.json) return out.document(all)
  if (all.length === 0) return out.say('no people yet. Add one:  athanor users set NAME --role developer')
  out.table(
    ['USER', 'ROLE', 'STATE', 'ADDED'],
    all.map((user) => [user.name, user.role, user.disabledAt ? 'disabled' : 'active', ago(user.createdAt)]),
  )
}

/** Lists, sets and removes prices; those of a tenant with --of. */
export async function prices(
  { client, out }: Context,
  action: string,
  model: string | undefined,
  { of = '*', request, input, output }: { of?: string; request?: string; input?: string; output?: string },
) {
  switch (action) {
    case 'set':
      await client.prices.set(of, model ?? '*', {
        ...(request !== undefined && { request: amount('request', request) }),
        ...(input !== undefined && { input: amount('input', input) }),
        ...(output !== undefined && { output: amount('output', output) }),
      })
      break
    case 'remove':
      await client.prices.remove(of, model ?? '*')
      break
    case 'list':
      break
    default:
      throw unknownAction(action, 'list, set or remove')
  }
  const all = await client.prices.list()
  if (out.json) return out.document(all)
  if (all.length === 0)
    return out.say('nothing costs anything yet. Set a price:  athanor prices set MODEL --input 0.15')
  out.table(
    ['TENANT', 'MODEL', 'A REQUEST', '1000 TOKENS READ', '1000 WRITTEN'],
    all.map((price) => [price.tenant, price.model, String(price.request), String(price.input), String(price.output)]),
  )
}

/** What was used, by day, model and key; a file is written as CSV. */
export async function usage(
  { client, out }: Context,
  { csv, out: path, ...options }: { csv?: boolean; out?: string; from?: string; to?: string; all?: boolean },
) {
  const filter = given(options, ['from', 'to', 'all'])
  if (path !== undefined) {
    await writeFile(path, await client.usage.csv(filter))
    return out.json ? out.document({ file: path }) : out.say(`written to ${path}`)
  }
  if (csv && !out.json) return out.data((await client.usage.csv(filter)).trimEnd())
  const rows = await client.usage.list(filter)
  if (out.json) return out.document(rows)
  if (rows.length === 0) return out.say('nothing was used yet')
  out.table(
    ['TENANT', 'DAY', 'MODEL', 'KEY', 'REQUESTS', 'REFUSED', 'READ', 'WRITTEN', 'COST'],
    rows.map((row) => [
      row.tenant,
      row.day,
      row.model,
      row.key,
      String(row.requests),
      String(row.refused),
      String(row.inputTokens),
      String(row.outputTokens),
      String(Number(row.cost.toFixed(6))),
    ]),
  )
}

/** Who changed what, the newest last. */
export async function audit(
  { client, out }: Context,
  { actor, limit, all }: { actor?: string; limit?: string; all?: boolean },
) {
  const entries = await client.audit({
    ...(actor && { actor }),
    limit: wholeNumber('limit', limit ?? '50'),
    ...(all && { all }),
  })
  if (out.json) return out.document(entries)
  out.table(
    ['WHEN (UTC)', 'TENANT', 'WHO', 'DID', 'TO', 'ENDED', 'WITH'],
    entries.toReversed().map(({ at, tenant, actor: who, action, target, detail, outcome = '?' }) => [
      at.replace('T', ' ').slice(0, 19),
      tenant,
      who,
      action,
      target,
      outcome,
      Object.entries(detail)
        .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
        .join(', ')
        .slice(0, 80),
    ]),
  )
}
