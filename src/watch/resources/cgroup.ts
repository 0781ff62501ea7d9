import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** What the control group of this process uses and may use: bytes, processors, seconds. */
export interface Cgroup {
  version: 1 | 2
  memory?: number
  memoryLimit?: number
  processorsLimit?: number
  cpuSeconds?: number
  throttledSeconds?: number
}

/** Version 1 says "no limit" with the largest number of pages; anything this large is none. */
const NO_LIMIT = 2 ** 60

/**
 * The control group of this process, version 2 or 1 (cgroups(7)); undefined where there is none. A limit may be set on any
 * group above: the smallest counts, with the use of the group that has it.
 */
export function readCgroup(proc = '/proc', mount = '/sys/fs/cgroup'): Cgroup | undefined {
  const text = read(join(proc, 'self/cgroup'))
  if (text === undefined) return undefined
  const groups = new Map(
    text
      .trim()
      .split('\n')
      .flatMap((line) => {
        const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
        return controllers.split(',').map((name) => [name, path] as const)
      }),
  )
  return groups.has('memory') ? first(groups, mount) : second(groups.get('') ?? '/', mount)
}

/** Version 2: one tree. */
function second(path: string, mount: string): Cgroup | undefined {
  const chain = upwards(path, mount)
  const limited = smallest(chain, (folder) => number(join(folder, 'memory.max')))
  const processors = smallest(chain, (folder) => {
    const [quota, period] = (read(join(folder, 'cpu.max')) ?? 'max').trim().split(' ').map(Number)
    return Number.isFinite(quota) && period > 0 ? quota / period : undefined
  })
  const memory = number(join(limited?.folder ?? chain[0], 'memory.current'))
  const stat = pairs(join(chain[0], 'cpu.stat'))
  if (memory === undefined && stat.size === 0) return undefined
  return compact({
    version: 2,
    memory,
    memoryLimit: limited?.value,
    processorsLimit: processors?.value,
    cpuSeconds: scaled(stat.get('usage_usec'), 1e-6),
    throttledSeconds: scaled(stat.get('throttled_usec'), 1e-6),
  })
}

/** Version 1: a tree for each controller, mounted by its name. */
function first(groups: ReadonlyMap<string, string>, mount: string): Cgroup | undefined {
  const chainOf = (controller: string) => upwards(groups.get(controller) ?? '/', join(mount, controller))
  const memoryChain = chainOf('memory')
  const limited = smallest(memoryChain, (folder) => {
    const limit = number(join(folder, 'memory.limit_in_bytes'))
    return limit !== undefined && limit < NO_LIMIT ? limit : undefined
  })
  const cpuChain = chainOf('cpu')
  const processors = smallest(cpuChain, (folder) => {
    const quota = number(join(folder, 'cpu.cfs_quota_us'))
    const period = number(join(folder, 'cpu.cfs_period_us'))
    return quota !== undefined && quota > 0 && period ? quota / period : undefined
  })
  return compact({
    version: 1,
    memory: number(join(limited?.folder ?? memoryChain[0], 'memory.usage_in_bytes')),
    memoryLimit: limited?.value,
    processorsLimit: processors?.value,
    cpuSeconds: scaled(number(join(chainOf('cpuacct')[0], 'cpuacct.usage')), 1e-9),
    throttledSeconds: scaled(pairs(join(cpuChain[0], 'cpu.stat')).get('throttled_time'), 1e-9),
  })
}

/** Folders of a group and those above it that exist here: a container sees its own group as the root. */
function upwards(path: string, mount: string): string[] {
  const chain: string[] = []
  for (let at = path; ; at = dirname(at)) {
    const folder = join(mount, at)
    if (read(join(folder, 'cgroup.procs')) !== undefined || at === '/') chain.push(folder)
    if (at === '/' || at === '.') return chain
  }
}

function smallest(chain: readonly string[], of: (folder: string) => number | undefined) {
  let found: { folder: string; value: number } | undefined
  for (const folder of chain) {
    const value = of(folder)
    if (value !== undefined && (!found || value < found.value)) found = { folder, value }
  }
  return found
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

function number(path: string): number | undefined {
  const value = Number(read(path)?.trim() || Number.NaN)
  return Number.isFinite(value) ? value : undefined
}

const pairs = (path: string) =>
  new Map((read(path) ?? '').split('\n').map((line) => [line.split(' ')[0], Number(line.split(' ')[1])] as const))

const scaled = (value: number | undefined, by: number) =>
  value === undefined || Number.isNaN(value) ? undefined : value * by

const compact = (group: { [K in keyof Cgroup]: Cgroup[K] | undefined }) =>
  Object.fromEntries(Object.entries(group).filter(([, value]) => value !== undefined)) as unknown as Cgroup
