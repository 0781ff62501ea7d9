import ort from 'onnxruntime-node'
import type { Init, Parameter, TrainingGraph } from '../autograd/training.ts'
import { nextName } from '../autograd/training.ts'
import { normalAt, streamOf, uniformAt } from '../base/counter.ts'
import { writeModel } from '../graph/codec.ts'
import type { Weights } from './checkpoint.ts'

/** Token ids (batch, time) padded with 0, valid lengths and, for training, labels. */
export interface Batch {
  ids: BigInt64Array
  lengths: BigInt64Array
  labels: BigInt64Array
  rows: number
  time: number
}

export interface StepResult {
  loss: number
  gradientNorm: number
  correct: number
}

type Tensors = Record<string, ort.Tensor>

/**
 * A training graph at work. State lives in two sets of preallocated tensors; each step reads one and writes the other,
 * so nothing is copied through JavaScript.
 */
export class TrainingSession {
  readonly #session: ort.InferenceSession
  readonly #graph: TrainingGraph
  readonly #seed: number
  #current: Tensors
  #spare: Tensors
  /** Steps taken so far. */
  step = 0

  private constructor(session: ort.InferenceSession, graph: TrainingGraph, seed: number) {
    this.#session = session
    this.#graph = graph
    this.#seed = seed
    const zeros = () =>
      Object.fromEntries(
        graph.state.map(({ name, dims }) => [name, new ort.Tensor('float32', new Float32Array(size(dims)), dims)]),
      )
    this.#current = zeros()
    this.#spare = zeros()
    for (const parameter of graph.parameters)
      fillInitial(this.#current[parameter.name].data as Float32Array, parameter, seed)
  }

  static async create(
    graph: TrainingGraph,
    { seed, threads }: { seed: number; threads: number },
  ): Promise<TrainingSession> {
    const session = await ort.InferenceSession.create(writeModel(graph.model), {
      intraOpNumThreads: threads,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      logSeverityLevel: 3,
    })
    return new TrainingSession(session, graph, seed)
  }

  async train(batch: Batch, learningRate: number): Promise<StepResult> {
    const step = this.step + 1
    const feeds: Tensors = { ...this.#current, ...batchTensors(batch) }
    feeds.labels = new ort.Tensor('int64', batch.labels, [batch.rows])
    feeds.learningRate = new ort.Tensor('float32', Float32Array.of(learningRate), [])
    feeds.step = new ort.Tensor('int64', BigInt64Array.of(BigInt(step)), [])
    for (const { name, shape, rate } of this.#graph.masks) {
      const dims = shape.map((dim) => (typeof dim === 'number' ? dim : dim === 'batch' ? batch.rows : batch.time))
      feeds[name] = new ort.Tensor('float32', dropoutMask(size(dims), rate, this.#seed ^ step, streamOf(name)), dims)
    }
    const fetches: Record<string, ort.Tensor | null> = { loss: null, gradientNorm: null, correct: null }
    for (const { name } of this.#graph.state) fetches[nextName(name)] = this.#spare[name]
    const results = await this.#session.run(feeds, fetches)
    ;[this.#current, this.#spare] = [this.#spare, this.#current]
    this.step = step
    return {
      loss: Number(results.loss.data[0]),
      gradientNorm: Number(results.gradientNorm.data[0]),
      correct: Number(results.correct.data[0]),
    }
  }

  /** Copies of the parameters alone. */
  parameters(): Weights {
    return this.#copy(this.#graph.parameters)
  }

  /** Copies of all that the next step depends on. */
  state(): Weights {
    return this.#copy(this.#graph.state)
  }

  restore(state: Weights, step: number) {
    for (const [name, { data }] of Object.entries(state)) (this.#current[name].data as Float32Array).set(data)
    this.step = step
  }

  async close() {
    await this.#session.release()
  }

  #copy(tensors: readonly { name: string; dims: readonly number[] }[]): Weights {
    return Object.fromEntries(
      tensors.map(({ name, dims }) => [
        name,
        { dims, data: Float32Array.from(this.#current[name].data as Float32Array) },
      ]),
    )
  }
}

export function batchTensors({ ids, lengths, rows, time }: Batch): Tensors {
  return { ids: new ort.Tensor('int64', ids, [rows, time]), lengths: new ort.Tensor('int64', lengths, [rows]) }
}

function dropoutMask(length: number, rate: number, seed: number, stream: number): Float32Array {
  const mask = new Float32Array(length)
  const kept = 1 / (1 - rate)
  for (let i = 0; i < length; i++) mask[i] = uniformAt(seed, stream, i) < rate ? 0 : kept
  return mask
}

/** Fills a parameter with its initial values, drawn from a stream named by its path. */
function fillInitial(data: Float32Array, { name, init }: Pick<Parameter, 'name' | 'init'>, seed: number) {
  const stream = streamOf(name)
  const draw: Record<Init['kind'], (i: number) => number> = {
    uniform: (i) => (2 * uniformAt(seed, stream, i) - 1) * (init as { bound: number }).bound,
    normal: (i) => normalAt(seed, stream, i) * (init as { deviation: number }).deviation,
    zeros: () => 0,
    ones: () => 1,
  }
  const next = draw[init.kind]
  for (let i = 0; i < data.length; i++) data[i] = next(i)
}

const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)
