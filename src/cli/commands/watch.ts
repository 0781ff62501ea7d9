import type { Resources } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { given, wholeNumber } from '../reading.ts'
import { ago, bytes, duration } from '../terminal.ts'

/** What is going on: training runs and engines. */
export async function ps({ client, out }: Context, { all }: { all?: boolean }) {
  const [runs, engines, machine] = await Promise.all([client.runs.list(), client.engines(), client.resources()])
  const shown = all ? runs : runs.filter(({ state }) => !['done', 'failed', 'cancelled'].includes(state))
  if (out.json) return out.document({ runs: shown, engines, machine })
  if (shown.length > 0) {
    out.table(
      ['RUN', 'MODEL', 'STATE', 'ACCURACY', 'STARTED', 'REASON'],
      shown.map(({ run, model, state, metrics, createdAt, error }) => [
        run,
        model,
        state,
        metrics?.accuracy?.toFixed(4) ?? '',
        ago(createdAt),
        error?.message ?? '',
      ]),
    )
  }
  if (engines.length > 0) {
    if (shown.length > 0) out.data('')
    out.table(
      ['ENGINE', 'PID', 'STATE', 'MEMORY', 'CPU', 'THREADS', 'HANDLES', 'REQUESTS', 'WAITING', 'IDLE', 'LOADED'],
      engines.map((e) => [
        `${e.model}@${e.version}`,
        String(e.pid ?? ''),
        e.pinned ? `${e.state}, pinned` : e.state,
        e.rss === undefined ? '' : bytes(e.rss),
        e.cpuSeconds === undefined ? '' : `${e.cpuSeconds.toFixed(1)}s`,
        String(e.threads ?? ''),
        String(e.handles ?? ''),
        String(e.requests),
        String(e.waiting),
        e.idleSeconds > 0 ? duration(e.idleSeconds) : '',
        ago(e.loadedAt),
      ]),
    )
  }
  if (shown.length + engines.length === 0) out.say('nothing is running. Finished runs:  athanor ps --all')
  out.say(out.style('dim', machineLine(machine)))
}

/** The machine in one line: what is used of what there is. */
export function machineLine({ server, host, cgroup, disk, gpus }: Resources): string {
  const of = (used: number, all: number) => `${bytes(used)} of ${bytes(all)}`
  const memory = cgroup?.memory !== undefined && cgroup.memoryLimit !== undefined
  return [
    `server ${bytes(server.rss)}`,
    memory
      ? `memory of the group ${of(cgroup.memory!, cgroup.memoryLimit!)}`
      : `memory ${of(host.memory - host.available, host.memory)}`,
    `load ${host.load.toFixed(1)} on ${cgroup?.processorsLimit ?? host.processors} processors`,
    disk && `disk ${of(disk.size - disk.free, disk.size)}`,
    ...gpus.map(
      ({ name, utilization = 0, memoryUsed = 0, memory = 0 }) =>
        `${name} ${Math.round(100 * utilization)} %, ${of(memoryUsed, memory)}`,
    ),
  ]
    .filter(Boolean)
    .join(' · ')
}

export interface LogOptions {
  errors?: boolean
  model?: string
  code?: string
  request?: string
  since?: string
  limit?: string
  follow?: boolean
}

/** The stored log, oldest of the chosen entries first. */
export async function logs({ client, out, signal }: Context, options: LogOptions) {
  const { errors, limit = '50' } = options
  const filter = given(options, ['model', 'code', 'request', 'since'])
  const most = wholeNumber('limit', limit)
  const read = async (more: { since?: string } = {}) => {
    const entries = await client.logs({ ...filter, ...more, limit: most })
    return entries.filter(({ level }) => !errors || level !== 'info').reverse()
  }
  let entries = await read()
  if (out.json && !options.follow) return out.document(entries)
  if (entries.length === 0 && !options.follow) return out.say('the log has no such entries')
  let seen = new Set<string>()
  for (;;) {
    for (const entry of entries) {
      const key = JSON.stringify(entry)
      if (seen.has(key)) continue
      seen.add(key)
      if (out.json) {
        out.document(entry)
        continue
      }
      const { at, level, event, code: errorCode, message, model: name, version, requestId, ms } = entry
      const colour = level === 'error' ? 'red' : level === 'warn' ? 'yellow' : 'dim'
      const facts = [
        name && `${name}${version ? `@${version}` : ''}`,
        ms !== undefined && `${ms.toFixed(1)} ms`,
        requestId,
      ].filter(Boolean)
      out.data(
        `${at.replace('T', ' ').slice(0, 23)} ${out.style(colour, level.padEnd(5))} ${errorCode ?? event}  ${message ?? ''}  ${out.style('dim', facts.join('  '))}`.trimEnd(),
      )
    }
    if (!options.follow || signal.aborted) return
    await new Promise((resolve) => setTimeout(resolve, 1000))
    if (signal.aborted) return
    if (seen.size > 10_000) seen = new Set()
    entries = await read({ since: new Date(Date.now() - 10_000).toISOString() })
  }
}
