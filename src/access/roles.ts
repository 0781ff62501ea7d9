/** Roles, each with the rights of those before it. */
export const roles = ['viewer', 'user', 'developer', 'admin'] as const
export type Role = (typeof roles)[number]

/**
 * What a route asks of its caller, with the least role that has it: nothing at all, seeing, asking models, making and
 * changing things, keys and logs of a tenant, and what concerns all tenants (an admin of the tenant `default`).
 */
const permissions = {
  public: undefined,
  read: 'viewer',
  use: 'user',
  write: 'developer',
  admin: 'admin',
  operate: 'admin',
} as const satisfies Record<string, Role | undefined>
export type Permission = keyof typeof permissions

/** The tenant that exists from the start; its admins operate the whole server. */
export const DEFAULT_TENANT = 'default'

/** Who calls: everything that is decided about a request is decided from this. */
export interface Principal {
  /** The key's id; `local` on a loopback address without a key. */
  readonly id: string
  /** How the audit log names it. */
  readonly actor: string
  readonly tenant: string
  readonly role: Role
  /** Whether it may act for every tenant. */
  readonly operator: boolean
  /** Names of models it may see and use, `*` for any characters; absent for all. */
  readonly models?: readonly string[]
  /** Protocols it may use; absent for all. */
  readonly doors?: readonly string[]
}

export const roleAtLeast = (role: Role, least: Role) => roles.indexOf(role) >= roles.indexOf(least)

/** Why a principal may not use a route of a permission and door; undefined where it may. */
export function forbidden(who: Principal, permission: Permission, door: string): string | undefined {
  const least = permissions[permission]
  if (least === undefined) return undefined
  if (!roleAtLeast(who.role, least)) return `its role is ${who.role}, and this takes ${least}`
  if (permission === 'operate' && !who.operator) return `only an admin of the tenant "${DEFAULT_TENANT}" may`
  if (who.doors && !who.doors.includes(door)) return `it is for ${who.doors.join(', ')}, not for ${door}`
  return undefined
}

/** Whether a model's name is among patterns, in which `*` stands for any characters. */
export function matches(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => {
    if (!pattern.includes('*')) return pattern === name
    const parts = pattern.split('*')
    const [head, tail] = [parts[0], parts.at(-1)!]
    if (name.length < head.length + tail.length || !name.startsWith(head) || !name.endsWith(tail)) return false
    let at = head.length
    for (const part of parts.slice(1, -1)) {
      const found = name.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return at <= name.length - tail.length
  })
}
