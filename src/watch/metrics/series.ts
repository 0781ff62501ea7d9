import { type ErrorCode, errors } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import type { Timings } from '../../engine/messages.ts'
import { Buckets } from './buckets.ts'
import type { Served } from './served.ts'

/** Bounds in seconds, from a tenth of a millisecond on. */
export const seconds = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
]
const long = [...seconds, 60, 120, 300]
const sizes = [1, 2, 4, 8, 16, 32, 64, 128]
const lengths = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144]

/** What is counted of one version at one door. Everything that is told of requests is a view on these. */
export class Series {
  readonly model: string
  readonly version: string
  readonly door: string
  readonly task: Manifest['task'] | undefined
  answered = 0
  /** When the last one was answered, in milliseconds since 1970. */
  last = 0
  rows = 0
  failedSeconds = 0
  promptTokens = 0
  completionTokens = 0
  readonly codes = new Map<ErrorCode, number>()
  readonly finishes = new Map<string, number>()
  readonly duration = new Buckets(long)
  readonly queue = new Buckets(seconds)
  readonly pre = new Buckets(seconds)
  readonly run = new Buckets(seconds)
  readonly post = new Buckets(seconds)
  readonly batch = new Buckets(sizes)
  /** Batches by their size, with the seconds they took: a request counts as the part that its rows are of one. */
  readonly executions = new Map<number, { count: number; pre: number; run: number; post: number }>()
  readonly firstToken = new Buckets(long)
  readonly betweenTokens = new Buckets(seconds)
  /** Writing after the first token, and its mean for each token after it. */
  readonly decode = new Buckets(long)
  readonly perToken = new Buckets(seconds)
  readonly promptLength = new Buckets(lengths)
  readonly completionLength = new Buckets(lengths)

  constructor({ model = '', version, door, task }: Pick<Served, 'model' | 'version' | 'door' | 'task'>) {
    this.model = model
    this.version = version === undefined ? '' : String(version)
    this.door = door
    this.task = task
  }

  add({ ms, rows, at, timings, written, code }: Served) {
    if (code !== undefined) {
      this.codes.set(code, (this.codes.get(code) ?? 0) + 1)
      this.failedSeconds += ms / 1000
      return
    }
    this.answered++
    this.last = at
    this.rows += rows
    this.duration.add(ms / 1000)
    if (timings) {
      this.queue.add(timings.queue / 1000)
      this.pre.add(timings.pre / 1000)
      this.run.add(timings.run / 1000)
      this.post.add(timings.post / 1000)
      this.batch.add(timings.batch)
      this.#execution(rows, timings)
    }
    if (!written) return
    const { usage, first, gaps, finish } = written
    this.finishes.set(finish, (this.finishes.get(finish) ?? 0) + 1)
    this.promptTokens += usage.promptTokens
    this.completionTokens += usage.completionTokens
    this.promptLength.add(usage.promptTokens)
    this.completionLength.add(usage.completionTokens)
    this.firstToken.add(first / 1000)
    this.decode.add((ms - first) / 1000)
    for (const gap of gaps) this.betweenTokens.add(gap / 1000)
    if (usage.completionTokens > 1) this.perToken.add((ms - first) / 1000 / (usage.completionTokens - 1))
  }

  #execution(rows: number, { batch, pre, run, post }: Timings) {
    const execution = this.executions.get(batch) ?? { count: 0, pre: 0, run: 0, post: 0 }
    this.executions.set(batch, execution)
    const part = rows / Math.max(1, batch)
    execution.count += part
    execution.pre += (part * pre) / 1000
    execution.run += (part * run) / 1000
    execution.post += (part * post) / 1000
  }

  /** Requests that failed by the server's own fault. */
  get failed(): number {
    let sum = 0
    for (const [code, count] of this.codes) if (errors[code][0] >= 500) sum += count
    return sum
  }
}

/** Versions and doors that are told apart; what comes beyond is counted together as model "other". */
const MOST = 1000

/** All series, by version and door, bounded in number. */
export class AllSeries {
  readonly #series = new Map<string, Series>()
  readonly #most: number

  constructor(most = MOST) {
    this.#most = most
  }

  add(served: Served) {
    this.#of(served).add(served)
  }

  [Symbol.iterator](): IterableIterator<Series> {
    return this.#series.values()
  }

  #of(served: Served): Series {
    const key = `${served.model ?? ''}@${served.version ?? ''} ${served.door}`
    const known = this.#series.get(key)
    if (known) return known
    if (this.#series.size >= this.#most && served.model !== 'other') {
      const { version: _version, ...rest } = served
      return this.#of({ ...rest, model: 'other' })
    }
    const fresh = new Series(served)
    this.#series.set(key, fresh)
    return fresh
  }
}
