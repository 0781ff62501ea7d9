import type { Config } from '../base/config.ts'
import { fail } from '../base/errors.ts'
import type { Manifest, TensorSpec } from '../bundle/manifest.ts'
import type { ImageContent } from '../data/images/pixels.ts'
import type { Window } from '../drift/reference.ts'
import { type AnyEngine, type Outside, openEngine } from '../engine/any.ts'
import { type EngineOptions, threadsFor } from '../engine/engine.ts'
import type { EngineOutput, EngineStats, GenerationEvent, Timings } from '../engine/messages.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Registry, Version } from '../registry/registry.ts'
import { standIn } from './fallback.ts'
import { checkGeneration, type GenerationInput } from './generation.ts'
import { checkTensors } from './tensors.ts'

export interface Ranked {
  label: string
  score: number
}

export interface Prediction {
  model: string
  version: number
  manifest: Manifest
  output: EngineOutput
  timings: Timings
  /** The texts that were asked about, of a text model. */
  texts?: readonly string[]
}

export interface CallOptions {
  signal?: AbortSignal
  /** Milliseconds the call may take. */
  deadline?: number
}

export interface TextCallOptions extends CallOptions {
  /** Most words for each mask. */
  topK?: number
}

export interface LoadedEngine {
  model: string
  version: number
  pid: number | undefined
  state: string
  loadedAt: string
  requests: number
  waiting: number
  stats?: EngineStats
}

/** Served versions: an engine each, loaded when first asked for, with bounded queues and deadlines. */
export class Deployments {
  readonly #registry: Registry
  readonly #config: Config
  readonly #engineOptions: Partial<EngineOptions>
  readonly #outside: Outside
  readonly #engines = new Map<string, Promise<AnyEngine>>()
  readonly #loaded = new Map<string, AnyEngine>()
  /** What refs mean, until the registry changes. */
  readonly #resolved = new Map<string, Promise<Version>>()
  #closed = false
  onCrash: (version: Version, reason: string) => void = () => {}
  onWindow: (version: Version, window: Window) => void = () => {}

  constructor({
    registry,
    config,
    engine = {},
    outside,
  }: { registry: Registry; config: Config; engine?: Partial<EngineOptions>; outside: Outside }) {
    this.#registry = registry
    this.#config = config
    this.#engineOptions = engine
    this.#outside = outside
    registry.onChange = () => this.#resolved.clear()
  }

  /**
   * What a model says of texts: class probabilities, vectors, words for masks, or labelled stretches, by its task. Throws
   * TEXT_TOO_LONG, OVERLOADED, DEADLINE_EXCEEDED and what the registry throws.
   */
  async predict(ref: string, texts: readonly string[], options: TextCallOptions = {}): Promise<Prediction> {
    const { batchLimit, textLimit } = this.#config
    if (texts.length === 0) throw fail('BAD_REQUEST', { message: 'inputs: expected at least one text' })
    if (texts.length > batchLimit)
      throw fail('BAD_REQUEST', { message: `inputs: expected at most ${batchLimit} texts, got ${texts.length}` })
    for (const text of texts)
      if (text.length > textLimit) throw fail('TEXT_TOO_LONG', { length: text.length, limit: textLimit })
    const { topK } = options
    const request = { texts: [...texts], ...(topK !== undefined && { topK }) }
    const prediction = await this.#call(ref, ofTexts, () => request, options)
    return { ...prediction, texts }
  }

  /** Class probabilities of images, as files or raw pixels; throws IMAGE_INVALID and IMAGE_TOO_LARGE besides what `predict` throws. */
  async classifyImages(ref: string, images: readonly ImageContent[], options: CallOptions = {}): Promise<Prediction> {
    const { batchLimit } = this.#config
    if (images.length === 0) throw fail('BAD_REQUEST', { message: 'inputs: expected at least one image' })
    if (images.length > batchLimit)
      throw fail('BAD_REQUEST', { message: `inputs: expected at most ${batchLimit} images, got ${images.length}` })
    return this.#call(ref, ['image-classification'], () => ({ images: [...images] }), options)
  }

  /** Outputs of a plain graph; the inputs must fit its signature (TENSOR_INVALID otherwise). */
  async infer(ref: string, inputs: Record<string, Tensor>, options: CallOptions = {}): Promise<Prediction> {
    return this.#call(
      ref,
      ['tensor'],
      ({ name, manifest }) => {
        checkTensors(manifest.signature.inputs as TensorSpec[], inputs, name)
        return { inputs }
      },
      options,
    )
  }

  /**
   * What a model writes, event by event; the last is `end`. Checked before anything is sent: BAD_REQUEST, TEXT_TOO_LONG.
   * Throws as `predict` before the first event, and ENGINE_CRASHED or DEADLINE_EXCEEDED also after it. To stop it, stop
   * reading, or abort the signal: then the last event is an `end` with finish `cancelled`.
   */
  async *generate(
    ref: string,
    input: GenerationInput,
    { signal, deadline = this.#config.generationDeadline }: CallOptions = {},
  ): AsyncGenerator<GenerationEvent, undefined> {
    const request = checkGeneration(input, this.#config.textLimit)
    for (const chain: string[] = [ref]; ; ) {
      const version = await this.resolve(chain.at(-1)!)
      checkTask(version, ['text-generation'])
      let begun = false
      try {
        const engine = await this.#admit(version)
        for await (const event of engine.generate(request, { ...(signal && { signal }), deadline })) {
          begun = true
          yield event
        }
        return undefined
      } catch (thrown) {
        const next = begun ? undefined : standIn(version, thrown, chain)
        if (next === undefined) throw thrown
        chain.push(next)
      }
    }
  }

  async #call(
    ref: string,
    tasks: readonly Manifest['task'][],
    request: (version: Version) => Parameters<AnyEngine['request']>[0],
    { signal, deadline = this.#config.deadline }: CallOptions,
  ): Promise<Prediction> {
    for (const chain: string[] = [ref]; ; ) {
      const version = await this.resolve(chain.at(-1)!)
      const { name, manifest } = version
      checkTask(version, tasks)
      const what = request(version)
      try {
        const engine = await this.#admit(version)
        const { output, timings } = await engine.request(what, { ...(signal && { signal }), deadline })
        return { model: name, version: version.version, manifest, output, timings }
      } catch (thrown) {
        const next = standIn(version, thrown, chain)
        if (next === undefined) throw thrown
        chain.push(next)
      }
    }
  }

  async #admit(version: Version): Promise<AnyEngine> {
    const engine = await this.#engineFor(version)
    if (engine.waiting >= this.#config.queueLimit)
      throw fail('OVERLOADED', { name: version.name, queued: engine.waiting })
    return engine
  }

  /** What a ref means; remembered until the registry changes. */
  resolve(ref: string): Promise<Version> {
    const known = this.#resolved.get(ref)
    if (known) return known
    const asked = this.#registry.resolve(ref)
    if (this.#resolved.size > 10_000) this.#resolved.clear()
    this.#resolved.set(ref, asked)
    asked.catch(() => this.#resolved.delete(ref))
    return asked
  }

  async load(ref: string): Promise<Version> {
    const version = await this.resolve(ref)
    await this.#engineFor(version)
    return version
  }

  /** Ends the engine of a version, after what is in flight; true if there was one. */
  async unload(ref: string): Promise<boolean> {
    return this.#unload(await this.resolve(ref))
  }

  async #unload(version: Pick<Version, 'name' | 'version'>): Promise<boolean> {
    const key = keyOf(version)
    const starting = this.#engines.get(key)
    if (!starting) return false
    this.#engines.delete(key)
    const engine = await starting.catch(() => undefined)
    this.#loaded.delete(key)
    await engine?.stop()
    return true
  }

  /** Deletes a model or version after ending its engines. */
  async delete(ref: string): Promise<void> {
    const { name, version } = await this.resolve(ref)
    for (const loaded of this.#loaded.values()) {
      const { spec } = loaded
      if (spec.name === name && (!ref.includes('@') || spec.version === version)) await this.#unload(spec)
    }
    await this.#registry.delete(ref)
  }

  isLoaded(name: string, version: number): boolean {
    return this.#loaded.has(keyOf({ name, version }))
  }

  async list(): Promise<LoadedEngine[]> {
    return Promise.all(
      [...this.#loaded.values()].map(async (engine) => {
        const { name, version } = engine.spec
        const stats = await engine.stats()
        const { pid, state, loadedAt, requests, waiting } = engine
        return { model: name, version, pid, state, loadedAt, requests, waiting, ...(stats && { stats }) }
      }),
    )
  }

  async close() {
    this.#closed = true
    await Promise.all(
      [...this.#engines.values()].map(async (starting) => (await starting.catch(() => undefined))?.stop(5000)),
    )
    this.#engines.clear()
    this.#loaded.clear()
  }

  /** The engine of a version, started if need be; requests that come meanwhile share the start. */
  #engineFor(version: Version): Promise<AnyEngine> {
    if (this.#closed) throw fail('MODEL_NOT_READY', { name: version.name, reason: 'the server is shutting down' })
    const key = keyOf(version)
    const known = this.#engines.get(key)
    if (known) {
      // a broken one is given up, so that the next request starts afresh
      if (this.#loaded.get(key)?.state !== 'broken') return known
      void this.#unload(version)
    }
    const starting = this.#start(version)
    this.#engines.set(key, starting)
    starting.catch(() => {
      if (this.#engines.get(key) === starting) this.#engines.delete(key)
    })
    return starting
  }

  async #start(version: Version): Promise<AnyEngine> {
    const { name, version: number, manifest } = version
    const files = await this.#registry.checkout(version)
    const options = { threads: threadsFor(manifest), ...this.#engineOptions }
    const engine = await openEngine({ name, version: number, manifest, files }, options, this.#outside)
    engine.onCrash = (reason) => this.onCrash(version, reason)
    engine.onWindow = (window) => this.onWindow(version, window)
    await engine.ready
    this.#loaded.set(keyOf(version), engine)
    return engine
  }
}

const takes: Record<Manifest['task'], string> = {
  'text-classification': 'takes texts to classify',
  'token-classification': 'takes texts to label',
  'feature-extraction': 'takes texts to embed',
  'fill-mask': 'takes texts to complete',
  'text-generation': 'writes texts: use its generate route',
  'image-classification': 'takes images to classify',
  tensor: 'takes tensors by name',
}

/** Tasks whose models answer texts. */
const ofTexts = ['text-classification', 'token-classification', 'feature-extraction', 'fill-mask'] as const

function checkTask({ name, manifest }: Version, tasks: readonly Manifest['task'][]) {
  if (!tasks.includes(manifest.task)) throw fail('BAD_REQUEST', { message: `model "${name}" ${takes[manifest.task]}` })
}

const keyOf = ({ name, version }: Pick<Version, 'name' | 'version'>) => `${name}@${version}`

/**
 * The labels of one row of probabilities, best first, at most `topK`; where a text may have several, each with whether its
 * score reaches the label's threshold. Of a model of numbers, the number under its name.
 */
export function rank(
  { labels, thresholds }: Pick<Manifest, 'labels' | 'thresholds'>,
  probabilities: Float32Array,
  row: number,
  topK = labels.length,
): Ranked[] {
  const scores = probabilities.subarray(row * labels.length, (row + 1) * labels.length)
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b)
  return order.slice(0, topK).map((i) => ({
    label: labels[i],
    score: scores[i],
    ...(thresholds && { chosen: scores[i] >= thresholds[i] }),
  }))
}
