import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { AVERAGE, keptBy, type Optimizer, vectorsOf } from '../autograd/optimizers.ts'
import type { Init, Parameter, TrainingGraph } from '../autograd/training.ts'
import { normalAt, streamOf, uniformAt } from '../base/counter.ts'
import { alignUp, vectors, view } from '../base/simd.ts'
import { writeModel } from '../graph/codec.ts'
import { type Batch, partsOf } from './batch.ts'
import { blockSize, inBlocks } from './block.ts'
import type { Weights } from './checkpoint.ts'
import { type Place, type Shared, STARTED, Way, within } from './way.ts'

export interface SessionOptions {
  optimizer: Optimizer
  weightDecay: number
  /** Largest global gradient norm (Pascanu et al. 2013); 0 for no limit. */
  clipNorm: number
  seed: number
  threads: number
  /** Rows of a full batch: it is shared among threads as long as each has at least 4 rows. */
  batchSize: number
  /** Whether memory is planned by the shapes of a batch (the default), as is best for small ones: see `isPlanned`. */
  planned?: boolean
  /** What stays of the moving average of the weights in a step, once there are enough steps; 0 keeps none. */
  average?: number
  /** Parameters that decay; those that the network says if absent. */
  decays?: (parameter: Parameter) => boolean
}

export interface StepResult {
  loss: number
  gradientNorm: number
  correct: number
}

const LEAST_ROWS = 4

/** A training graph at work on its parameters and the optimizer's state. Results depend on seed, threads and batch size. */
export class TrainingSession {
  readonly #shared: Shared
  readonly #first: Way
  readonly #others: readonly Worker[]
  /** What made another thread fail, as soon as it has. */
  readonly #failures: readonly Promise<Error>[]
  /** Steps taken so far. */
  step = 0

  private constructor(shared: Shared, first: Way, threads: readonly { worker: Worker; failed: Promise<Error> }[]) {
    this.#shared = shared
    this.#first = first
    this.#others = threads.map(({ worker }) => worker)
    this.#failures = threads.map(({ failed }) => failed)
  }

  static async create(graph: TrainingGraph, options: SessionOptions): Promise<TrainingSession> {
    const ways = waysOf(graph, options)
    const block = await blockSize()
    const model = inBlocks(graph.model, block, Math.ceil(options.batchSize / ways))
    const shared = layOut(graph, ways, writeModel(model), options)
    const all = view(shared.vectors, 'parameter')
    const place = new Map(shared.places.map((one) => [one.name, one]))
    for (const parameter of graph.parameters)
      fillInitial(within(all, place.get(parameter.name)!), parameter, options.seed)
    if (shared.average > 0) view(shared.vectors, AVERAGE).set(all)
    for (const parameter of graph.frozen) fillInitial(shared.frozen[parameter.name].data, parameter, options.seed)
    const others = Array.from({ length: shared.ways - 1 }, (_, i) => startThread(shared, i + 1))
    const [first] = await Promise.all([Way.create(shared, 0), ...others.map(({ ready }) => ready)])
    return new TrainingSession(shared, first, others)
  }

  /** A step on one batch, or on the sum of several: as on one of all their rows, with the memory of one of them. */
  async train(given: Batch | readonly Batch[], learningRate: number): Promise<StepResult> {
    const step = this.step + 1
    const { ways, control } = this.#shared
    const batches = 'tensors' in given ? [given] : given
    const jobs = Array.from({ length: ways }, (_, way) => ({ parts: partsOf(batches, way, ways), step, learningRate }))
    this.#others.forEach((worker, i) => {
      worker.postMessage(jobs[i + 1])
    })
    Atomics.add(control, STARTED, 1)
    Atomics.notify(control, STARTED)
    await this.#first.work(jobs[0]).catch(async (error) => {
      throw (await Promise.race([...this.#failures, setTimeout(100)])) ?? error
    })
    this.step = step
    return this.#first.result()
  }

  /** The parameters: copies of those that are trained, and the frozen ones themselves. */
  parameters(): Weights {
    return { ...this.#shared.frozen, ...this.#copies('parameter', (name) => name) }
  }

  /** The moving average of the parameters where one is kept, else the parameters. */
  averages(): Weights {
    const { average, frozen } = this.#shared
    return average > 0 ? { ...frozen, ...this.#copies(AVERAGE, (name) => name) } : this.parameters()
  }

  /** Copies of all that steps change and the next step depends on. */
  state(): Weights {
    const { frozen, running } = this.#shared
    return Object.assign(
      this.#copies('parameter', (name) => name),
      Object.fromEntries(
        running.map((name) => [name, { ...frozen[name], data: Float32Array.from(frozen[name].data) }]),
      ),
      ...this.#kept().map((vector) => this.#copies(vector, (name) => `${name}:${vector}`)),
    )
  }

  /** Takes over those of the weights that are its own, and goes on from a step. */
  restore(weights: Weights, step: number) {
    const { average, vectors, places, frozen } = this.#shared
    const put = (into: Float32Array, data?: Float32Array) => data && into.set(data)
    for (const place of places) {
      put(within(view(vectors, 'parameter'), place), weights[place.name]?.data)
      if (average > 0) put(within(view(vectors, AVERAGE), place), weights[place.name]?.data)
      for (const vector of this.#kept())
        put(within(view(vectors, vector), place), weights[`${place.name}:${vector}`]?.data)
    }
    for (const [name, { data }] of Object.entries(frozen)) put(data, weights[name]?.data)
    this.step = step
  }

  async close() {
    await Promise.all(this.#others.map((worker) => worker.terminate()))
    await this.#first.close()
  }

  /** Vectors that pass from step to step beside the parameters. */
  #kept(): readonly string[] {
    return keptBy(this.#shared.optimizer, this.#shared.average > 0)
  }

  #copies(vector: string, name: (parameter: string) => string): Weights {
    const { vectors, places } = this.#shared
    const all = view(vectors, vector)
    return Object.fromEntries(
      places.map((place) => [name(place.name), { dims: place.dims, data: Float32Array.from(within(all, place)) }]),
    )
  }
}

/** How many threads share a batch; one where it must not be shared out. */
export const waysOf = (
  { running }: TrainingGraph,
  { threads, batchSize }: Pick<SessionOptions, 'threads' | 'batchSize'>,
) => (running.length > 0 ? 1 : Math.max(1, Math.min(threads, Math.floor(batchSize / LEAST_ROWS))))

function layOut(graph: TrainingGraph, ways: number, model: Uint8Array, options: SessionOptions): Shared {
  const { threads, seed, weightDecay, clipNorm, optimizer, average = 0, planned = true } = options
  const decays = options.decays ?? (({ decay }: Parameter) => decay)
  const places: Place[] = []
  let size = 0
  const place = ({ name, dims }: Parameter) => {
    const length = elements(dims)
    places.push({ name, dims, offset: size, length })
    size = alignUp(size + length)
  }
  graph.parameters.filter(decays).forEach(place)
  const decaying = size
  graph.parameters.filter((parameter) => !decays(parameter)).forEach(place)
  return {
    ways,
    threads: Math.max(1, Math.floor(threads / ways)),
    planned,
    seed,
    model,
    optimizer,
    masks: graph.masks,
    places,
    tables: graph.tables.map(({ name, shape }) => ({ ...places.find((place) => place.name === name)!, shape })),
    decaying,
    weightDecay,
    clipNorm,
    average,
    vectors: vectors(vectorsOf(optimizer, ways, average > 0), size),
    frozen: Object.fromEntries(
      graph.frozen.map(({ name, dims }) => [
        name,
        { dims, data: new Float32Array(new SharedArrayBuffer(4 * elements(dims))) },
      ]),
    ),
    running: graph.running,
    sums: new Float64Array(new SharedArrayBuffer(8 * 3 * ways)),
    control: new Int32Array(new SharedArrayBuffer(4 * 3)),
  }
}

const elements = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

function startThread(shared: Shared, index: number) {
  const file = import.meta.url.endsWith('.ts') ? './thread.ts' : './thread.js'
  const worker = new Worker(new URL(file, import.meta.url), { workerData: { shared, index } })
  const failed = new Promise<Error>((resolve) => worker.once('error', resolve))
  const ready = new Promise<void>((resolve, reject) => {
    worker.once('message', () => {
      worker.unref()
      resolve()
    })
    failed.then(reject)
  })
  return { worker, ready, failed }
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
