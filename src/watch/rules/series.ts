import type { Tally } from '../history/tally.ts'
import type { Machine } from '../resources/machine.ts'

type Unit = 'share' | 'seconds' | 'perSecond' | 'number'

/** A number that can be watched: of the requests of a stretch of time, by model, or of the machine now. */
interface Watched {
  unit: Unit
  meaning: string
}
interface OfRequests extends Watched {
  /** `seconds`: how long the stretch was. Undefined where too little was asked to tell. */
  of: (tally: Tally, seconds: number) => number | undefined
}
interface OfMachine extends Watched {
  now: (machine: Machine) => number | undefined
}

/** Requests from which on a share or a quantile says something. */
const ENOUGH = 20

const share = (meaning: string, count: 'errors' | 'refused'): OfRequests => ({
  unit: 'share',
  meaning,
  of: ({ counts }) => (counts.requests < ENOUGH ? undefined : counts[count] / counts.requests),
})
const quantile = (meaning: string, sketch: 'latency' | 'firstToken', at: number): OfRequests => ({
  unit: 'seconds',
  meaning,
  of: (tally) => (tally[sketch].count < ENOUGH ? undefined : tally[sketch].quantile(at)),
})

export const ofRequests = {
  requests: { unit: 'perSecond', meaning: 'requests a second', of: ({ counts }, seconds) => counts.requests / seconds },
  errors: share('share of requests that failed by the server’s fault', 'errors'),
  refused: share('share of requests that were refused', 'refused'),
  p50: quantile('median latency', 'latency', 0.5),
  p95: quantile('latency of 95 %', 'latency', 0.95),
  p99: quantile('latency of 99 %', 'latency', 0.99),
  'first-token-p50': quantile('median time to the first token', 'firstToken', 0.5),
  'first-token-p99': quantile('time of 99 % to the first token', 'firstToken', 0.99),
  tokens: {
    unit: 'perSecond',
    meaning: 'tokens read and written a second',
    of: ({ counts }, seconds) => (counts.promptTokens + counts.completionTokens) / seconds,
  },
} as const satisfies Record<string, OfRequests>

export const ofMachine = {
  memory: {
    unit: 'share',
    meaning: 'share of memory in use, of the control group where it has a limit',
    now: ({ host, cgroup }) =>
      cgroup?.memory !== undefined && cgroup.memoryLimit !== undefined
        ? cgroup.memory / cgroup.memoryLimit
        : 1 - host.available / host.memory,
  },
  disk: {
    unit: 'share',
    meaning: 'share of the data folder’s disk in use',
    now: ({ disk }) => disk && 1 - disk.free / disk.size,
  },
  load: { unit: 'number', meaning: 'load for each processor', now: ({ host }) => host.load / host.processors },
} as const satisfies Record<string, OfMachine>

export type RequestSeries = keyof typeof ofRequests
export type MachineSeries = keyof typeof ofMachine
export const watchedSeries: Readonly<Record<RequestSeries | MachineSeries, Watched>> = { ...ofRequests, ...ofMachine }
