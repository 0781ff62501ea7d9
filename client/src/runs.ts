import { AthanorError, unreachable } from './error.ts'
import { parseEvents } from './events.ts'
import { type Http, pause } from './http.ts'
import type { Advice, Measured, RefineSpec, RunSpec, TrialReport } from './training.ts'
import type { ErrorBody, Metrics } from './types.ts'

export type RunState =
  | 'queued'
  | 'preparing'
  | 'training'
  | 'refining'
  | 'measuring'
  | 'evaluating'
  | 'registering'
  | 'done'
  | 'failed'
  | 'cancelled'
  | 'interrupted'

export interface Run {
  run: string
  model: string
  state: RunState
  spec: RunSpec | RefineSpec
  createdAt: string
  updatedAt: string
  metrics?: Metrics
  version?: number
  error?: ErrorBody
}

export type TrainEvent =
  | { type: 'state'; state: RunState }
  | {
      type: 'progress'
      phase: 'reading' | 'cleaning' | 'encoding' | 'teaching' | 'measuring'
      done: number
      total?: number
    }
  | { type: 'data'; report: Record<string, unknown> }
  | { type: 'model'; family: string; parameters: number; threads: number; options: Record<string, unknown> }
  | {
      type: 'step'
      step: number
      steps: number
      epoch: number
      epochs: number
      loss: number
      learningRate: number
      samplesPerSecond: number
      /** Where rows are made of tokens: those trained on a second, padding left out. */
      tokensPerSecond?: number
      /** Resident bytes of the training process. */
      memory: number
      eta: number
    }
  | { type: 'epoch'; epoch: number; epochs: number; loss: number; validation: Metrics; best: boolean }
  | { type: 'sample'; epoch: number; text: string }
  | { type: 'checkpoint'; step: number }
  | { type: 'advice'; advice: Advice }
  | { type: 'measured'; metrics: Metrics; rows: number }
  | { type: 'trial'; trial: TrialReport }
  | { type: 'selection'; metric: string; trials: TrialReport[] }
  | { type: 'trying'; what: string; number: number; of: number }
  | { type: 'pass'; name: string; note: string }
  | {
      type: 'gate'
      what: string
      rows: number
      table: Measured[]
      accepted: boolean
      /** Measures whose bounds are missed. */
      missed: string[]
      reasons: string[]
      forced: boolean
      chosen: boolean
      pareto?: boolean
    }
  | { type: 'done'; model: string; version: number; family: string; metrics: Metrics; seconds: number }
  | { type: 'failed'; error: ErrorBody }

/** Calls about runs of training and refinement. */
export function runCalls(http: Http) {
  return {
    create: (spec: RunSpec): Promise<Run> => http.json('/api/runs', { method: 'POST', json: spec }),
    list: async (): Promise<Run[]> => (await http.json<{ runs: Run[] }>('/api/runs')).runs,
    get: (run: string): Promise<Run> => http.json(`/api/runs/${encodeURIComponent(run)}`),
    cancel: (run: string): Promise<Run> => http.json(`/api/runs/${encodeURIComponent(run)}/cancel`, { method: 'POST' }),
    interrupt: (run: string): Promise<Run> =>
      http.json(`/api/runs/${encodeURIComponent(run)}/interrupt`, { method: 'POST' }),
    resume: (run: string): Promise<Run> => http.json(`/api/runs/${encodeURIComponent(run)}/resume`, { method: 'POST' }),
    /** What a run tells, from its beginning (or after event `after`) to its end; reconnects where the stream breaks. */
    events: (run: string, options: { signal?: AbortSignal; after?: number } = {}): AsyncGenerator<TrainEvent> =>
      eventsOf(http, run, options),
  }
}

const ended = new Set(['done', 'failed', 'cancelled', 'interrupted'])

async function* eventsOf(
  http: Http,
  run: string,
  { signal, after = 0 }: { signal?: AbortSignal; after?: number },
): AsyncGenerator<TrainEvent> {
  let last = String(after)
  for (let failures = 0; ; ) {
    try {
      const call = { headers: { 'last-event-id': last }, timeout: 0, ...(signal && { signal }) }
      const { body } = await http.send(`/api/runs/${encodeURIComponent(run)}/events`, call)
      for await (const { id, data } of parseEvents(body!)) {
        failures = 0
        if (id !== undefined) last = id
        const event = JSON.parse(data) as TrainEvent
        yield event
        if (event.type === 'state' && ended.has(event.state)) return
      }
    } catch (error) {
      if (signal?.aborted) return
      if (error instanceof AthanorError && error.status < 500) throw error
      if (++failures > 5) throw error instanceof AthanorError ? error : unreachable(http.url, error)
    }
    if (signal?.aborted) return
    await pause(Math.min(5000, 200 * 2 ** failures))
  }
}
