import { fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import type { HistoryRow, HistoryRows } from '../../store/history.ts'
import type { Log } from '../log.ts'
import type { Served } from '../metrics/served.ts'
import { type Point, Tally } from './tally.ts'

/** Stretches that are counted: how long one is and how long it is kept, in milliseconds. */
export const spans = {
  minute: { length: 60_000, kept: 86_400_000 },
  hour: { length: 3_600_000, kept: 90 * 86_400_000 },
} as const
export type Span = keyof typeof spans

/** Kept this often; what came since then is lost when the process is killed. */
const EVERY = 10_000
const PRUNE_EVERY = 3_600_000
/** Versions and doors told apart in one minute; what comes beyond is counted together as model "other". */
const MOST_SERIES = 500
/** Rows that one question may read. */
const MOST_ROWS = 100_000

type Which = Pick<HistoryRow, 'model' | 'version' | 'door'>
export type By = keyof Which

export interface HistoryQuery {
  span?: Span
  /** ISO 8601; the last hour of minutes, or the last week of hours, if absent. */
  since?: string
  until?: string
  model?: string
  version?: number
  door?: string
  by?: readonly By[]
}

export interface HistoryReport {
  span: Span
  since: string
  until: string
  series: (Partial<Which> & { total: Point; points: (Point & { at: string })[] })[]
}

interface Open {
  span: Span
  at: number
  which: Which
  tally: Tally
}

/**
 * Requests by the minute and the hour, kept in the database. A process writes rows of its own and replaces only those, so
 * that several can write beside each other and a kill leaves whole rows.
 */
export class History {
  readonly #rows: HistoryRows
  readonly #log: Log
  readonly #timer: NodeJS.Timeout
  /** Counted since the last write, by minute and series. */
  #fresh = new Map<string, Open>()
  /** Minutes and hours that may still grow. */
  readonly #open = new Map<string, Open>()
  #writer = newId('w')
  #newest = 0
  #prunedAt = Number.NEGATIVE_INFINITY
  #flushing: Promise<void> = Promise.resolve()

  constructor(rows: HistoryRows, log: Log) {
    this.#rows = rows
    this.#log = log
    this.#timer = setInterval(() => void this.flush(), EVERY).unref()
  }

  observe(served: Served) {
    const at = startOf('minute', served.at)
    const { model = '', version = 0, door } = served
    let which: Which = { model, version, door }
    let key = keyOf(at, which)
    let open = this.#fresh.get(key)
    if (!open) {
      if (this.#fresh.size >= MOST_SERIES) {
        which = { model: 'other', version: 0, door }
        key = keyOf(at, which)
      }
      open = this.#fresh.get(key) ?? { span: 'minute', at, which, tally: new Tally() }
      this.#fresh.set(key, open)
    }
    open.tally.add(served)
  }

  /** Writes what was counted. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(async () => {
      const fresh = [...this.#fresh.values()]
      this.#fresh = new Map()
      if (fresh.some(({ at }) => at < this.#newest - spans.minute.length)) {
        // the clock was set back: rows of those minutes are written already, so others are begun
        this.#writer = newId('w')
        this.#open.clear()
        this.#newest = 0
      }
      const grown = new Set<Open>()
      for (const { at, which, tally } of fresh) {
        this.#newest = Math.max(this.#newest, at)
        for (const span of ['minute', 'hour'] as const) {
          const open = this.#opened(span, startOf(span, at), which)
          open.tally.merge(tally)
          grown.add(open)
        }
      }
      try {
        await this.#rows.put([...grown].map((open) => this.#rowOf(open)))
        await this.#prune()
      } catch (error) {
        this.#log.error('history.unsaved', error)
      }
      for (const [key, { span, at }] of this.#open)
        if (at < startOf(span, this.#newest) - spans.minute.length) this.#open.delete(key)
    })
    return this.#flushing
  }

  /** What was counted, by the chosen parts of a series; throws BAD_REQUEST for times that are none, or too many rows. */
  async read(query: HistoryQuery = {}): Promise<HistoryReport> {
    await this.flush()
    const { span = 'minute', model, version, door, by = ['model'] } = query
    const until = timeOf('until', query.until) ?? Date.now() + spans.minute.length
    const since = timeOf('since', query.since) ?? until - (span === 'minute' ? 3_600_000 : 7 * 86_400_000)
    const rows = await this.#rows.list({
      span,
      since: iso(startOf(span, since)),
      until: iso(until),
      limit: MOST_ROWS + 1,
      ...(model !== undefined && { model }),
      ...(version !== undefined && { version }),
      ...(door !== undefined && { door }),
    })
    if (rows.length > MOST_ROWS)
      throw fail('BAD_REQUEST', { message: `this asks for more than ${MOST_ROWS} rows: name a model, or less time` })
    const groups = Map.groupBy(rows, (row) => by.map((part) => row[part]).join(' '))
    const series = [...groups.values()].map((group) => {
      const which = Object.fromEntries(by.map((part) => [part, group[0][part]])) as Partial<Which>
      const total = new Tally()
      const points = [...Map.groupBy(group, ({ at }) => at)].map(([at, parts]) => {
        const tally = new Tally()
        for (const part of parts) tally.merge(Tally.of(part))
        total.merge(tally)
        return { at, ...tally.point }
      })
      return { ...which, total: total.point, points }
    })
    return { span, since: iso(since), until: iso(until), series }
  }

  /** What was counted of each model from one time to another; `since` is rounded down to a whole minute or hour. */
  async byModel(span: Span, since: number, until: number): Promise<Map<string, Tally>> {
    await this.flush()
    const filter = { span, since: iso(startOf(span, since)), until: iso(until), limit: MOST_ROWS }
    const tallies = new Map<string, Tally>()
    for (const row of await this.#rows.list(filter)) {
      if (row.model === '') continue // requests for models that are not there
      const tally = tallies.get(row.model) ?? new Tally()
      tally.merge(Tally.of(row))
      tallies.set(row.model, tally)
    }
    return tallies
  }

  async close() {
    clearInterval(this.#timer)
    await this.flush()
  }

  #opened(span: Span, at: number, which: Which): Open {
    const key = `${span} ${keyOf(at, which)}`
    const known = this.#open.get(key) ?? { span, at, which, tally: new Tally() }
    this.#open.set(key, known)
    return known
  }

  #rowOf({ span, at, which, tally }: Open): HistoryRow {
    const [latency, firstToken] = [String(tally.latency), String(tally.firstToken)]
    return { span, at: iso(at), writer: this.#writer, ...which, ...tally.counts, latency, firstToken }
  }

  async #prune() {
    const now = performance.now()
    if (now - this.#prunedAt < PRUNE_EVERY) return
    this.#prunedAt = now
    for (const [span, { kept }] of Object.entries(spans)) await this.#rows.prune(span, iso(Date.now() - kept))
  }
}

const iso = (at: number) => new Date(at).toISOString()
/** The beginning of the minute or hour of a time. */
export const startOf = (span: Span, at: number) => at - (at % spans[span].length)
const keyOf = (at: number, { model, version, door }: Which) => `${at} ${model}@${version} ${door}`

function timeOf(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw fail('BAD_REQUEST', { message: `${name}: expected a time in ISO 8601` })
  return at
}
