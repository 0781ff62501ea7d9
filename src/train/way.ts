import { gradientVector, type Optimizer, type OptimizerStep, optimizerStep } from '../autograd/optimizers.ts'
import { gradientName, indicesName, type Mask, nextName } from '../autograd/training.ts'
import { streamOf, uniformAt } from '../base/counter.ts'
import ort from '../base/onnxruntime.ts'
import { alignUp, type Vectors, view } from '../base/simd.ts'
import type { Shape } from '../graph/shape.ts'
import type { Part } from './batch.ts'
import type { Weights } from './checkpoint.ts'

/** Where a parameter lies in the flat vector of all of them. Those that decay come first. */
export interface Place {
  readonly name: string
  readonly dims: readonly number[]
  readonly offset: number
  readonly length: number
}

/** What all ways of a session share: the model as bytes, and memory that every thread sees. */
export interface Shared {
  readonly ways: number
  readonly threads: number
  /** Whether onnxruntime plans the memory of values by the shapes of a batch. */
  readonly planned: boolean
  readonly seed: number
  /** Loss and gradients. */
  readonly model: Uint8Array
  readonly optimizer: Optimizer
  readonly masks: readonly Mask[]
  readonly places: readonly Place[]
  /** Parameters whose gradient comes as rows, and the shape of their indices. */
  readonly tables: readonly (Place & { shape: Shape })[]
  /** Elements of the flat vectors that decay; the rest do not. */
  readonly decaying: number
  readonly weightDecay: number
  readonly clipNorm: number
  /** What stays of the moving average of the parameters in a step; 0 where none is kept. */
  readonly average: number
  /** Parameters, the optimizer's moments and a gradient for each way. */
  readonly vectors: Vectors
  /** Parameters that training leaves as they are. */
  readonly frozen: Weights
  /** Those of them that every step replaces. */
  readonly running: readonly string[]
  /** Loss, correct rows and squared gradient norm of each way. */
  readonly sums: Float64Array
  readonly control: Int32Array
}

export interface Job {
  /** Its rows of each of the step's batches, whose gradients are summed. */
  readonly parts: readonly (Part | undefined)[]
  readonly step: number
  readonly learningRate: number
}

/** Slots of `control`. */
const ARRIVED = 0
export const STARTED = 1
export const FAILED = 2

const SUMS = 3
/** Elements over which a sum is kept in float32. */
const STRETCH = 8192
const DEADLINE = 600_000

type Tensors = Record<string, ort.Tensor>

/**
 * One of the threads that share a training step. Each takes some rows of the batch through forward and backward pass
 * with a session of its own, then sums and updates a stretch of the flat parameters. So that a core does not wait for
 * another within an operator: for recurrent layers that takes half of the time of two cores working on each operator.
 */
export class Way {
  readonly #shared: Shared
  readonly #index: number
  readonly #session: ort.InferenceSession
  readonly #optimizer: OptimizerStep
  readonly #gradient: Float32Array
  readonly #parameters: Tensors
  /** Where the graph's outputs go; to new memory where null. */
  readonly #outputs: Record<string, ort.Tensor | null>
  /** Rows of each table's gradient that are not zero. */
  readonly #touched: BigInt64Array[]
  #arrivals = 0

  private constructor(shared: Shared, index: number, session: ort.InferenceSession) {
    this.#shared = shared
    this.#index = index
    this.#session = session
    this.#optimizer = optimizerStep(shared.optimizer, shared.vectors, shared.ways)
    const named = (vector: Float32Array, name: (parameter: string) => string) =>
      Object.fromEntries(
        shared.places.map((place) => [name(place.name), new ort.Tensor('float32', within(vector, place), place.dims)]),
      )
    this.#parameters = named(view(shared.vectors, 'parameter'), (name) => name)
    for (const [name, { dims, data }] of Object.entries(shared.frozen))
      this.#parameters[name] = new ort.Tensor('float32', data, dims)
    this.#gradient = view(shared.vectors, gradientVector(index))
    this.#outputs = { ...named(this.#gradient, gradientName), loss: null, correct: null }
    for (const { name } of shared.tables)
      Object.assign(this.#outputs, { [gradientName(name)]: null, [indicesName(name)]: null })
    for (const name of shared.running) this.#outputs[nextName(name)] = null
    this.#touched = shared.tables.map(() => new BigInt64Array())
  }

  static async create(shared: Shared, index: number): Promise<Way> {
    const session = await ort.InferenceSession.create(shared.model, {
      intraOpNumThreads: shared.threads,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      enableMemPattern: shared.planned,
      logSeverityLevel: 3,
    })
    return new Way(shared, index, session)
  }

  /** Does its share of a step; all ways must be given the same step. */
  async work({ parts, step, learningRate }: Job) {
    const { sums, clipNorm, weightDecay, decaying, average } = this.#shared
    await this.#differentiateAll(parts, step)
    this.#meet()
    let scale = 1
    if (clipNorm > 0) {
      sums[this.#index * SUMS + 2] = this.#stretches((start, end) => this.#optimizer.norm(start, end, {}))
      this.#meet()
      scale = Math.min(1, clipNorm / (this.result().gradientNorm + 1e-6))
    }
    const [decays, stays] = [weightDecay, 0].map((decay) =>
      this.#optimizer.scalars({ learningRate, step, scale, decay, average }),
    )
    sums[this.#index * SUMS + 2] = this.#stretches((start, end) =>
      this.#optimizer.update(start, end, start < decaying ? decays : stays),
    )
    this.#meet()
  }

  /** Runs `kernel` over this way's share of the flat vectors and adds up what it returns. */
  #stretches(kernel: (start: number, end: number) => number): number {
    const { ways, vectors, decaying } = this.#shared
    const [first, last] = [this.#index, this.#index + 1].map((part) => alignUp((vectors.length * part) / ways))
    let sum = 0
    for (let start = first; start < last; ) {
      // none crosses from decaying to other parameters
      const end = Math.min(start + STRETCH, last, start < decaying ? decaying : last)
      sum += kernel(start, end)
      start = end
    }
    return sum
  }

  /** Loss, correct rows and gradient norm of the whole batch, once every way has done its work. */
  result() {
    const { sums, ways } = this.#shared
    const [loss, correct, square] = [0, 1, 2].map((slot) => {
      let sum = 0
      for (let way = 0; way < ways; way++) sum += sums[way * SUMS + slot]
      return sum
    })
    return { loss, correct, gradientNorm: Math.sqrt(square) }
  }

  async close() {
    await this.#session.release()
  }

  /** Gradients of several batches are summed: the graph writes each over the one before, but for rows of tables. */
  async #differentiateAll(parts: readonly (Part | undefined)[], step: number) {
    const { seed, places, tables } = this.#shared
    await this.#differentiate(parts[0], seed ^ step)
    if (parts.length === 1) return
    const sums = this.#shared.sums.subarray(this.#index * SUMS, this.#index * SUMS + 2)
    const dense = places.filter(({ name }) => tables.every((table) => table.name !== name))
    const [whole, counts] = [dense.map((place) => within(this.#gradient, place).slice()), sums.slice()]
    for (let i = 1; i < parts.length; i++) {
      if (!parts[i]) continue
      await this.#differentiate(parts[i], (seed ^ step) + Math.imul(i, 0x9e3779b1), true)
      dense.forEach((place, k) => {
        addTo(whole[k], within(this.#gradient, place))
      })
      addTo(counts, sums)
    }
    dense.forEach((place, k) => {
      within(this.#gradient, place).set(whole[k])
    })
    sums.set(counts)
  }

  /** With `more`, rows of tables are added to those that are there. */
  async #differentiate(part: Part | undefined, seed: number, more = false) {
    const { sums, tables, running, frozen } = this.#shared
    if (!part) {
      this.#gradient.fill(0)
      this.#touched.fill(new BigInt64Array())
      sums.fill(0, this.#index * SUMS, this.#index * SUMS + 2)
      return
    }
    if (!more)
      tables.forEach((table, i) => {
        clearRows(within(this.#gradient, table), table.dims[1], this.#touched[i])
      })
    const feeds: Tensors = { ...this.#parameters, share: float(part.share) }
    for (const [name, { type, data, dims }] of Object.entries(part.tensors))
      feeds[name] = new ort.Tensor(type as 'float32', data as Float32Array, dims)
    for (const mask of this.#shared.masks) feeds[mask.name] = dropoutMask(mask, part, seed)
    const results = await this.#session.run(feeds, this.#outputs)
    sums[this.#index * SUMS] = Number(results.loss.data[0])
    sums[this.#index * SUMS + 1] = Number(results.correct.data[0])
    for (const name of running) frozen[name].data.set(results[nextName(name)].data as Float32Array)
    tables.forEach((table, i) => {
      const [rows, indices] = [results[gradientName(table.name)].data, results[indicesName(table.name)].data]
      const touched = indices as BigInt64Array
      this.#touched[i] = more ? BigInt64Array.from([...this.#touched[i], ...touched]) : touched
      addRows(within(this.#gradient, table), table.dims[1], touched, rows as Float32Array)
    })
  }

  /** Waits until every way has come this far. */
  #meet() {
    const { control, ways } = this.#shared
    this.#arrivals += ways
    if (Atomics.add(control, ARRIVED, 1) + 1 - this.#arrivals >= 0) Atomics.notify(control, ARRIVED)
    else waitUntil(control, (arrived) => arrived - this.#arrivals >= 0)
  }
}

function waitUntil(control: Int32Array, reached: (arrived: number) => boolean) {
  const deadline = Date.now() + DEADLINE
  for (;;) {
    const arrived = Atomics.load(control, ARRIVED)
    if (reached(arrived)) return
    if (Atomics.load(control, FAILED) !== 0) throw new Error('another way of this training step failed')
    if (Date.now() > deadline) throw new Error('another way of this training step did not end')
    Atomics.wait(control, ARRIVED, arrived, 1000)
  }
}

/** The rows of a part in the dropout mask of the whole batch, whatever number of ways the batch is cut into. */
function dropoutMask({ name, shape, rate }: Mask, part: Part, seed: number): ort.Tensor {
  const { rows, firstRow, batchRows } = part
  const dims = dimsOf(shape, part)
  const axis = shape.indexOf('batch')
  const outer = product(dims.slice(0, axis))
  const inner = product(dims.slice(axis + 1))
  const mask = new Float32Array(outer * rows * inner)
  const stream = streamOf(name)
  const kept = 1 / (1 - rate)
  for (let i = 0, at = 0; i < outer; i++) {
    const start = (i * batchRows + firstRow) * inner
    for (let j = 0; j < rows * inner; j++) mask[at++] = uniformAt(seed, stream, start + j) < rate ? 0 : kept
  }
  return new ort.Tensor('float32', mask, dims)
}

/** Adds each of `rows` to the row of `table` (rows, width) at its index. */
function addRows(table: Float32Array, width: number, indices: BigInt64Array, rows: Float32Array) {
  for (let i = 0, from = 0; i < indices.length; i++) {
    const to = Number(indices[i]) * width
    for (let j = 0; j < width; j++) table[to + j] += rows[from++]
  }
}

function addTo(into: Float32Array | Float64Array, values: Float32Array | Float64Array) {
  for (let i = 0; i < into.length; i++) into[i] += values[i]
}

/** Makes rows of `table` (rows, width) zero: few of many, so the rest is spared. */
function clearRows(table: Float32Array, width: number, indices: BigInt64Array) {
  for (let i = 0; i < indices.length; i++) {
    const start = Number(indices[i]) * width
    for (let j = 0; j < width; j++) table[start + j] = 0
  }
}

/** The part of a flat vector that is a parameter's. */
export const within = (vector: Float32Array, { offset, length }: Place) => vector.subarray(offset, offset + length)

const dimsOf = (shape: Shape, { sizes }: Part) => shape.map((dim) => (typeof dim === 'number' ? dim : sizes[dim]))

const float = (value: number) => new ort.Tensor('float32', Float32Array.of(value), [])
const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
