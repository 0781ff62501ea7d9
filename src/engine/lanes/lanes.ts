import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type ort from '../../base/onnxruntime.ts'
import { createSession } from '../create-session.ts'
import { type Mapped, readGraph } from '../session.ts'

type Outputs = Readonly<Record<string, Pick<ort.Tensor, 'dims' | 'data'>>>
type Feeds = Readonly<Record<string, ort.Tensor>>

export interface LaneRun {
  feeds: [string, Pick<ort.Tensor, 'type' | 'data' | 'dims'>][]
  fetches: readonly string[]
}
export type LaneAnswer = { outputs: Outputs } | { error: string }

/** How many batches are run at once where there are many. */
const LANES = 2

/** What reads its weights once a step: two halves of a batch take nearly as long as the whole. */
const RECURRENT = new Set(['LSTM', 'GRU', 'RNN', 'Scan', 'Loop'])

/**
 * A graph of rows. What is alone is run by all threads; of more that waits, two batches are run at once by half of the
 * threads each, since threads that share a batch meet after each operator, and some operators are one thread's.
 */
export class Lanes {
  readonly #whole: ort.InferenceSession
  readonly #threads: number
  readonly #mapped: Mapped | undefined
  #opening: Promise<void> | undefined
  #lanes: Worker[] = []
  #free: Worker[] = []

  /** Throws MODEL_INVALID. */
  static async open(
    read: (file: string) => Uint8Array,
    { threads: wanted, paths }: { threads?: number; paths?: Readonly<Record<string, string>> },
  ): Promise<Lanes> {
    const { graph, folder, operators, threads: suiting } = readGraph(read, paths)
    const threads = wanted ?? suiting
    const whole = await createSession(graph, { threads, ...(folder !== undefined && { folder }) })
    const parts =
      folder !== undefined && threads >= LANES && ![...operators].some((operator) => RECURRENT.has(operator))
    return new Lanes(whole, threads, parts ? { graph, folder } : undefined)
  }

  private constructor(whole: ort.InferenceSession, threads: number, mapped: Mapped | undefined) {
    this.#whole = whole
    this.#threads = threads
    this.#mapped = mapped
  }

  /** How many runs are best made at once. */
  get count(): number {
    return Math.max(1, this.#lanes.length)
  }

  /** Opens the lanes in the background, where they help; the weights are mapped, so that they take little memory. */
  widen(): void {
    if (this.#mapped) this.#opening ??= this.#open(this.#mapped).catch(() => undefined) // all threads together do as well
  }

  /** Runs (batch, …) tensors by all threads if they are `alone`, else in a lane. Throws what the library throws. */
  async run(feeds: Feeds, fetches: readonly string[], alone: boolean): Promise<Outputs> {
    const lane = alone ? undefined : this.#free.pop()
    if (!lane) return this.#whole.run(feeds, [...fetches])
    const plain = Object.entries(feeds).map(([name, { type, data, dims }]) => [name, { type, data, dims }])
    lane.postMessage({ feeds: plain, fetches })
    const [answer] = (await once(lane, 'message')) as [LaneAnswer]
    this.#free.push(lane)
    if ('error' in answer) throw new Error(answer.error)
    return answer.outputs
  }

  /** Ends the lanes' threads, and gives the memory of all sessions back. */
  async close(): Promise<void> {
    await this.#opening
    await Promise.all([this.#whole.release(), ...this.#lanes.map((lane) => lane.terminate())])
  }

  async #open(mapped: Mapped) {
    const file = import.meta.url.endsWith('.ts') ? './thread.ts' : './thread.js'
    const workerData = { ...mapped, threads: Math.floor(this.#threads / LANES) }
    const lanes = Array.from({ length: LANES }, () => new Worker(new URL(file, import.meta.url), { workerData }))
    try {
      await Promise.all(lanes.map((lane) => once(lane, 'message')))
    } catch (error) {
      await Promise.all(lanes.map((lane) => lane.terminate()))
      throw error
    }
    this.#lanes = lanes
    this.#free = [...lanes]
  }
}
