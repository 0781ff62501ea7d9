import { matches, type Principal } from '../access/roles.ts'
import { AthanorError, fail } from '../base/errors.ts'
import { metered } from './metered.ts'
import type { House } from './route.ts'

/** The rooms that a key for some models only can enter; others are closed to it, also those that are added later. */
const open = [
  'tenant',
  'access',
  'config',
  'metrics',
  'observe',
  'drift',
  'feedback',
  'log',
  'startedAt',
  'url',
] as const

/** The house of a tenant as a principal may use it. */
export function viewOf(house: House, who: Principal): House {
  const { deployments, registry, access } = house
  const { models } = who
  const asked = metered(deployments, access.ledger, who)
  if (!models) return { ...house, who, deployments: overlaid(deployments, asked) }
  const sees = (name: string) => matches(models, name)
  const scoped = {
    ...Object.fromEntries(open.map((room) => [room, house[room]])),
    who,
    registry: scopedTo(
      overlaid(registry, {
        search: (query) => registry.search({ ...query, among: models }),
        count: async () => (await registry.search({ among: models, limit: 1 })).total,
        lineage: (name, served) => registry.lineage(name, served, sees),
      }),
      sees,
    ),
    deployments: scopedTo(overlaid(deployments, asked), sees),
  }
  return new Proxy(scoped as House, {
    get(target, room: keyof House) {
      if (room in target || !(room in house)) return target[room]
      throw fail('FORBIDDEN', { reason: `it is for the models ${models.join(', ')} only` })
    },
  })
}

/** An object with some of its methods replaced. */
function overlaid<T extends object>(target: T, replaced: Partial<T>): T {
  return new Proxy(target, {
    get(_, name) {
      const value = (name in replaced ? Reflect.get(replaced, name) : Reflect.get(target, name)) as unknown
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/**
 * A room whose methods take a model first: for models that are not seen they behave as for unknown ones, and lists leave
 * them out.
 */
function scopedTo<T extends object>(target: T, sees: (name: string) => boolean): T {
  const seen = (item: unknown) => {
    const { name, model } = (item ?? {}) as { name?: unknown; model?: unknown }
    const called = name ?? model
    return typeof called !== 'string' || sees(called)
  }
  const unknown = (name: string) => fail('MODEL_NOT_FOUND', { name })
  const shown = (result: unknown) => (Array.isArray(result) ? result.filter(seen) : result)
  return new Proxy(target, {
    get(_, property) {
      const value = Reflect.get(target, property) as unknown
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const [ref] = args
        const name = typeof ref === 'string' ? ref.split('@')[0] : undefined
        if (name !== undefined && !sees(name)) return refused(unknown(name))
        const result = value.apply(target, args) as unknown
        if (!(result instanceof Promise)) return shown(result)
        return result.then(shown, (error: unknown) => {
          // its suggestion would name others
          if (error instanceof AthanorError && error.code === 'MODEL_NOT_FOUND') throw unknown(name ?? '')
          throw error
        })
      }
    },
  })
}

/** A rejection, also for those who ask for events one by one; nobody has to look at it. */
function refused(error: AthanorError) {
  const rejected = Promise.reject(error)
  rejected.catch(() => undefined)
  return Object.assign(rejected, {
    next: () => rejected,
    return: async () => ({ done: true, value: undefined }),
    [Symbol.asyncIterator]() {
      return this
    },
  })
}
