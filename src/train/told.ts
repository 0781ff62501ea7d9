import { EventEmitter, on } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { finishedStates, type RunRecords } from '../store/runs.ts'
import type { TrainEvent } from './events.ts'

/** An event in the order in which it was stored; 0 for one that was only passed on. */
export interface NumberedEvent {
  id: number
  event: TrainEvent
}

/** Milliseconds between two looks at what another process has stored. */
const LOOK_EVERY = 500

interface Following {
  after: number
  signal?: AbortSignal
  /** Whether another process works on it now. */
  elsewhere(): boolean
  /** Undefined while it goes on; else what is to be told of its end that could not be stored. */
  ended(): Promise<readonly TrainEvent[] | undefined>
}

/** What runs tell: stored, and passed on to those who follow. */
export class Told {
  readonly #records: RunRecords
  readonly #live = new EventEmitter().setMaxListeners(0)

  constructor(records: RunRecords) {
    this.#records = records
  }

  /** Those who follow are told even what cannot be stored. */
  async keep(run: string, event: TrainEvent) {
    let id = 0
    try {
      id = await this.#records.addEvent(run, event)
    } finally {
      this.#live.emit(run, { id, event } satisfies NumberedEvent)
    }
  }

  /** Tells those who follow now, nobody else. */
  pass(run: string, event: TrainEvent) {
    this.#live.emit(run, { id: 0, event } satisfies NumberedEvent)
  }

  async stored(run: string, after: number): Promise<(NumberedEvent & { at: string })[]> {
    return (await this.#records.events(run, after)) as (NumberedEvent & { at: string })[]
  }

  /**
   * What a run told after event `after` (0: since it was last queued), and what it tells from now on until it has ended. Of
   * one that another process works on, only what is stored.
   */
  async *follow(run: string, { after, signal, elsewhere, ended }: Following): AsyncGenerator<NumberedEvent> {
    const listening = new AbortController()
    const live = on(this.#live, run, {
      signal: signal ? AbortSignal.any([signal, listening.signal]) : listening.signal,
    })
    let last = after
    const more = async () => {
      const events = await this.stored(run, last)
      last = events.at(-1)?.id ?? last
      return events
    }
    try {
      const told = await more()
      const queued = ({ event }: NumberedEvent) => event.type === 'state' && event.state === 'queued'
      yield* after > 0 ? told : told.slice(Math.max(0, told.findLastIndex(queued)))
      while (elsewhere() && !(await ended())) {
        await setTimeout(LOOK_EVERY, undefined, { ref: false, ...(signal && { signal }) })
        yield* await more()
      }
      const end = await ended()
      if (end) {
        yield* await more()
        for (const event of end) yield { id: 0, event }
        return
      }
      for await (const [numbered] of live as AsyncIterable<[NumberedEvent]>) {
        if (numbered.id > 0 && numbered.id <= last) continue
        yield numbered
        const { event } = numbered
        if (event.type === 'state' && isEnd(event.state)) return
      }
    } catch (error) {
      if ((error as Error).name !== 'AbortError') throw error
    } finally {
      listening.abort()
    }
  }
}

const isEnd = (state: string) => (finishedStates as readonly string[]).includes(state)
