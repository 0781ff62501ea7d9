import ort from 'onnxruntime-node'
import { gradientName, indicesName, type Mask } from '../autograd/training.ts'
import { streamOf, uniformAt } from '../base/counter.ts'
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

/** What all ways of a session share: models as bytes, and memory that every thread sees. */
export interface Shared {
  readonly ways: number
  readonly threads: number
  readonly seed: number
  readonly models: { gradients: Uint8Array; total: Uint8Array; update: Uint8Array }
  readonly outputs: { total: readonly string[]; update: readonly string[] }
  readonly moments: readonly string[]
  readonly masks: readonly Mask[]
  readonly places: readonly Place[]
  /** Parameters whose gradient comes as rows, and the shape of their indices. */
  readonly tables: readonly (Place & { shape: Shape })[]
  /** Elements of the flat vector that decay; the rest do not. */
  readonly decaying: number
  readonly weightDecay: number
  readonly clipNorm: number
  /** How much of the moving average of the parameters stays in a step; 0 where none is kept. */
  readonly average: number
  readonly parameters: Float32Array
  /** Parameters that training leaves as they are. */
  readonly frozen: Weights
  /** One vector for each of the optimizer's moments. */
  readonly state: readonly Float32Array[]
  /** One vector for each way. */
  readonly gradients: readonly Float32Array[]
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
/** Elements summed or updated at once, so that what lies between the operators stays in the cache. */
const STRETCH = 262_144
const DEADLINE = 600_000

interface Stretch {
  readonly total: Tensors
  readonly totalTo: Record<string, ort.Tensor | null>
  readonly update: Tensors
  readonly updateTo: Tensors
}
interface Rows {
  values: Float32Array
  indices: BigInt64Array
}
type Tensors = Record<string, ort.Tensor>
type Sessions = Record<keyof Shared['models'], ort.InferenceSession>

/**
 * One of the threads that share a training step. Each takes some rows of the batch through forward and backward pass
 * with a session of its own, then sums and updates a stretch of the flat parameters. So that a core does not wait for
 * another within an operator: for recurrent layers that takes half of the time of two cores working on each operator.
 */
export class Way {
  readonly #shared: Shared
  readonly #index: number
  readonly #sessions: Sessions
  readonly #parameters: Tensors
  readonly #gradients: Record<string, ort.Tensor | null>
  readonly #stretches: Stretch[]
  readonly #rows: Rows[]
  #arrivals = 0

  private constructor(shared: Shared, index: number, sessions: Sessions) {
    this.#shared = shared
    this.#index = index
    this.#sessions = sessions
    const within = (vector: Float32Array, { offset, length, dims }: Place) =>
      new ort.Tensor('float32', vector.subarray(offset, offset + length), dims)
    const named = (vector: Float32Array, name: (parameter: string) => string) =>
      Object.fromEntries(shared.places.map((place) => [name(place.name), within(vector, place)]))
    this.#parameters = named(shared.parameters, (name) => name)
    for (const [name, { dims, data }] of Object.entries(shared.frozen))
      this.#parameters[name] = new ort.Tensor('float32', data, dims)
    this.#gradients = { ...named(shared.gradients[index], gradientName), loss: null, correct: null }
    this.#rows = shared.tables.map(() => ({ values: new Float32Array(), indices: new BigInt64Array() }))
    this.#stretches = stretchesOf(shared, index)
  }

  static async create(shared: Shared, index: number): Promise<Way> {
    const open = (model: Uint8Array) =>
      ort.InferenceSession.create(model, {
        intraOpNumThreads: shared.threads,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        logSeverityLevel: 3,
      })
    const { gradients, total, update } = shared.models
    const sessions = { gradients: await open(gradients), total: await open(total), update: await open(update) }
    return new Way(shared, index, sessions)
  }

  /** Does its share of a step; all ways must be given the same step. */
  async work({ parts, step, learningRate }: Job) {
    const { sums, clipNorm, ways, average } = this.#shared
    await this.#differentiateAll(parts, step)
    this.#meet()
    let square = 0
    for (const { total, totalTo } of this.#stretches) {
      const results = await this.#sessions.total.run(total, totalTo)
      square += Number(results[this.#shared.outputs.total.at(-1)!].data[0])
    }
    sums[this.#index * SUMS + 2] = square
    this.#meet()
    let whole = 0
    for (let way = 0; way < ways; way++) whole += sums[way * SUMS + 2]
    const scalars = {
      ...(clipNorm > 0 && { scale: float(Math.min(1, clipNorm / (Math.sqrt(whole) + 1e-6))) }),
      // the first steps of an average count more, or it would stay near the initial weights
      ...(average > 0 && { keep: float(Math.min(average, (1 + step) / (10 + step))) }),
      learningRate: float(learningRate),
      step: new ort.Tensor('int64', BigInt64Array.of(BigInt(step)), []),
    }
    for (const { update, updateTo } of this.#stretches)
      await this.#sessions.update.run({ ...update, ...scalars }, updateTo)
    this.#meet()
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
    await Promise.all(Object.values(this.#sessions).map((session) => session.release()))
  }

  /** Gradients of several batches are summed outside of the graph, which writes each over the one before. */
  async #differentiateAll(parts: readonly (Part | undefined)[], step: number) {
    const seed = this.#shared.seed ^ step
    await this.#differentiate(parts[0], seed)
    if (parts.length === 1) return
    const gradient = this.#shared.gradients[this.#index]
    const sums = this.#shared.sums.subarray(this.#index * SUMS, this.#index * SUMS + 2)
    const [whole, counts] = [gradient.slice(), sums.slice()]
    for (let i = 1; i < parts.length; i++) {
      await this.#differentiate(parts[i], (seed + Math.imul(i, 0x9e3779b1)) | 0)
      for (let j = 0; j < whole.length; j++) whole[j] += gradient[j]
      for (let j = 0; j < counts.length; j++) counts[j] += sums[j]
    }
    gradient.set(whole)
    sums.set(counts)
  }

  async #differentiate(part: Part | undefined, seed: number) {
    const { sums, gradients } = this.#shared
    if (!part) {
      gradients[this.#index].fill(0)
      sums.fill(0, this.#index * SUMS, this.#index * SUMS + 2)
      return
    }
    const feeds: Tensors = { ...this.#parameters, share: float(part.share) }
    for (const [name, { type, data, dims }] of Object.entries(part.tensors))
      feeds[name] = new ort.Tensor(type as 'float32', data as Float32Array, dims)
    for (const mask of this.#shared.masks) feeds[mask.name] = dropoutMask(mask, part, seed)
    const { tables } = this.#shared
    const fetches = { ...this.#gradients, ...Object.assign({}, ...tables.map((_, i) => this.#rowsOf(i, part))) }
    const results = await this.#sessions.gradients.run(feeds, fetches)
    sums[this.#index * SUMS] = Number(results.loss.data[0])
    sums[this.#index * SUMS + 1] = Number(results.correct.data[0])
    for (const { name, offset, length, dims } of tables) {
      const rows = results[gradientName(name)].data as Float32Array
      const indices = results[indicesName(name)].data as BigInt64Array
      addRows(gradients[this.#index].subarray(offset, offset + length), dims[1], indices, rows)
    }
  }

  /**
   * Where the gradient of a table goes: memory kept from step to step, for new one would keep the garbage collector busy.
   * New all the same if the shape is not known before.
   */
  #rowsOf(table: number, part: Part): Record<string, ort.Tensor | null> {
    const { name, shape, dims } = this.#shared.tables[table]
    if (shape.some((dim) => typeof dim === 'string' && part.sizes[dim] === undefined))
      return { [gradientName(name)]: null, [indicesName(name)]: null }
    const at = dimsOf(shape, part)
    const [count, width] = [product(at), dims[1]]
    if (this.#rows[table].indices.length < count)
      this.#rows[table] = { values: new Float32Array(count * width), indices: new BigInt64Array(count) }
    const { values, indices } = this.#rows[table]
    return {
      [gradientName(name)]: new ort.Tensor('float32', values.subarray(0, count * width), [...at, width]),
      [indicesName(name)]: new ort.Tensor('int64', indices.subarray(0, count), at),
    }
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

/** The stretches of the flat vector that a way sums and updates; none crosses from decaying to other parameters. */
function stretchesOf(shared: Shared, index: number): Stretch[] {
  const { ways, parameters, decaying, weightDecay, gradients, outputs } = shared
  const vectors: Record<string, Float32Array> = { parameter: parameters, gradient: gradients[0] }
  shared.moments.forEach((moment, i) => {
    vectors[moment] = shared.state[i]
  })
  const replaced = ['parameter', ...shared.moments]
  const bound = (part: number) => Math.floor((parameters.length * part) / ways)
  const stretches: Stretch[] = []
  for (let start = bound(index); start < bound(index + 1); ) {
    const end = Math.min(start + STRETCH, bound(index + 1), start < decaying ? decaying : Number.POSITIVE_INFINITY)
    const tensor = (vector: Float32Array) => new ort.Tensor('float32', vector.subarray(start, end), [end - start])
    const total = Object.fromEntries(gradients.map((vector, way) => [`gradient:${way}`, tensor(vector)]))
    const update = Object.fromEntries(Object.entries(vectors).map(([name, vector]) => [name, tensor(vector)]))
    stretches.push({
      total,
      totalTo: Object.fromEntries(
        outputs.total.map((name, i) => [name, i === 0 && ways > 1 ? total['gradient:0'] : null]),
      ),
      update: { ...update, ...(weightDecay > 0 && { decay: float(start < decaying ? weightDecay : 0) }) },
      updateTo: Object.fromEntries(outputs.update.map((name, i) => [name, update[replaced[i]]])),
    })
    start = end
  }
  return stretches
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

/** Makes `table` (rows, width) zero but for the sums of `rows` at their indices. */
function addRows(table: Float32Array, width: number, indices: BigInt64Array, rows: Float32Array) {
  table.fill(0)
  for (let i = 0, from = 0; i < indices.length; i++) {
    const to = Number(indices[i]) * width
    for (let j = 0; j < width; j++) table[to + j] += rows[from++]
  }
}

const dimsOf = (shape: Shape, { sizes }: Part) => shape.map((dim) => (typeof dim === 'number' ? dim : sizes[dim]))

const float = (value: number) => new ort.Tensor('float32', Float32Array.of(value), [])
const product = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
