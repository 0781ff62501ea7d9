import type { Config } from '../base/config.ts'
import { fail } from '../base/errors.ts'
import { hubTaskNames } from '../bundle/hub.ts'
import type { Manifest, TensorSpec } from '../bundle/manifest.ts'
import type { ImageContent } from '../data/images/pixels.ts'
import type { Window } from '../drift/sketch.ts'
import type { AnyEngine } from '../engine/any.ts'
import type { NewRequest } from '../engine/engine.ts'
import { type EngineOutput, type GenerationEvent, monotonic, type Timings } from '../engine/messages.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Registry, Version } from '../registry/registry.ts'
import { runComposition } from './compose.ts'
import type { Engines, Lease, LoadedEngine, Serving } from './engines.ts'
import { standIn } from './fallback.ts'
import { checkGeneration, type GenerationInput } from './generation.ts'
import { checkHubInput } from './hub-input.ts'
import { checkCount, checkTexts } from './limits.ts'
import { Mirror } from './mirror.ts'
import type { Rollouts } from './rollouts.ts'
import { checkPairs, checkTask, ofTexts } from './tasks.ts'
import { checkTensors } from './tensors.ts'
import type { Outcome } from './trial.ts'
import { type Tuning, tune } from './tune.ts'

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
  signal?: AbortSignal | undefined
  /** Milliseconds the call may take. */
  deadline?: number
  /** Calls of one key go to the same version while a deployment's weights stay as they are. */
  key?: string | undefined
}

export interface TextCallOptions extends CallOptions {
  /** Most words for each mask. */
  topK?: number
  /** The second text of each. */
  pairs?: readonly string[]
  /** Logits of pairs, not probabilities. */
  raw?: boolean
}

/** A version as a ref means it; `via` is the ref if it is a deployment, whose other versions may answer as well. */
export interface Resolved extends Version {
  via?: string
}

/** The ref by which to ask what was resolved: the deployment, or exactly that version. */
export const askRef = ({ via, name, version }: Pick<Resolved, 'via' | 'name' | 'version'>) =>
  via ?? `${name}@${version}`

/** The version that a call goes to; what comes of it is told to the trial that it is part of. */
export interface Choice {
  version: Version
  told?: (outcome: Omit<Outcome, 'ofCandidate'>) => void
}

/** Requests that may wait whatever they are thought to take: what a few took says little. */
const QUEUE = 8

/** Asks versions: finds what a ref means, holds an engine of it for the call, and refuses what cannot be answered in time. */
export class Deployments {
  readonly #registry: Registry
  readonly #config: Config
  readonly #engines: Engines
  /** What refs mean, until the registry changes. */
  readonly #resolved = new Map<string, Promise<Resolved>>()
  readonly #mirror: Mirror
  readonly #rollouts: Rollouts

  constructor({
    registry,
    config,
    rollouts,
    engines,
  }: { registry: Registry; config: Config; rollouts: Rollouts; engines: Engines }) {
    this.#registry = registry
    this.#config = config
    this.#rollouts = rollouts
    this.#engines = engines
    engines.servingOf = (model) => rollouts.servingOf(model)
    this.#mirror = new Mirror(async (version, request) => (await this.#run(version, request, {})).output)
    rollouts.prepare = (version) => this.#load(version)
    rollouts.forget = () => this.#resolved.clear()
    registry.onChange = () => this.#resolved.clear()
  }

  set onCrash(told: (version: Version, reason: string) => void) {
    this.#engines.onCrash = told
  }
  set onWindow(told: (version: Version, window: Window) => void) {
    this.#engines.onWindow = told
  }

  /**
   * What a model says of texts: class probabilities, vectors, words for masks, or labelled stretches, by its task. Throws
   * TEXT_TOO_LONG, OVERLOADED, DEADLINE_HOPELESS, DEADLINE_EXCEEDED, CANCELLED, MEMORY_FULL and what the registry throws.
   */
  async predict(ref: string, texts: readonly string[], options: TextCallOptions = {}): Promise<Prediction> {
    checkTexts(this.#config, texts)
    const { topK, pairs, raw } = options
    if (pairs) checkTexts(this.#config, pairs)
    const request = {
      texts: [...texts],
      ...(pairs && { pairs: [...pairs] }),
      ...(raw && { raw }),
      ...(topK !== undefined && { topK }),
    }
    const prediction = await this.#call(ref, ofTexts, () => request, options)
    return { ...prediction, texts: pairs ? texts.map((text, i) => `${text}\n${pairs[i]}`) : texts }
  }

  /** Vectors of texts that come as token ids of the model's own; throws what `predict` throws, and BAD_REQUEST for other ids. */
  async embedIds(ref: string, ids: readonly number[][], options: CallOptions = {}): Promise<Prediction> {
    checkTexts(this.#config, ids)
    if (ids.some(({ length }) => length === 0))
      throw fail('BAD_REQUEST', { message: 'inputs: expected at least one token id' })
    const texts = ids.map((one) => JSON.stringify(one))
    const request = { texts, ids: [...ids] }
    const prediction = await this.#call(ref, ['feature-extraction'], () => request, options)
    return { ...prediction, texts }
  }

  /** Class probabilities of images, as files or raw pixels; throws IMAGE_INVALID and IMAGE_TOO_LARGE besides what `predict` throws. */
  async classifyImages(ref: string, images: readonly ImageContent[], options: CallOptions = {}): Promise<Prediction> {
    checkCount(this.#config, 'image', images.length)
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

  /** What a model of one of the hub's tasks answers to inputs and parameters in that task's own words; throws BAD_REQUEST. */
  async ask(ref: string, inputs: unknown, parameters: unknown, options: CallOptions = {}): Promise<Prediction> {
    const request = ({ manifest }: Version) => ({
      input: checkHubInput(manifest.task, inputs, parameters, this.#config.textLimit),
    })
    return this.#call(ref, hubTaskNames, request, options)
  }

  /**
   * What a model writes, event by event; the last is `end`. Checked before anything is sent: BAD_REQUEST, TEXT_TOO_LONG.
   * Throws as `predict` before the first event, and ENGINE_CRASHED or DEADLINE_EXCEEDED also after it. To stop it, stop
   * reading, or abort the signal: then the last event is an `end` with finish `cancelled`.
   */
  async *generate(
    asked: string | Choice,
    input: GenerationInput,
    { signal, deadline = this.#config.generationDeadline, key }: CallOptions = {},
  ): AsyncGenerator<GenerationEvent, undefined> {
    const request = checkGeneration(input, this.#config.textLimit)
    for (let choice = typeof asked === 'string' ? await this.choose(asked, key) : asked, chain: string[] = []; ; ) {
      const { version, told } = choice
      checkTask(version, ['text-generation'])
      const began = monotonic()
      let first: number | undefined
      try {
        const { engine, release } = await this.#admit(version, deadline, signal)
        try {
          for await (const event of engine.generate(request, { ...(signal && { signal }), deadline })) {
            first ??= monotonic() - began // texts have different lengths: how soon they begin can be compared
            yield event
          }
          if (first !== undefined) told?.({ failed: false, ms: first })
          return undefined
        } finally {
          release()
        }
      } catch (thrown) {
        if (!signal?.aborted) told?.({ failed: true, ms: monotonic() - began })
        chain = [...chain, version.name]
        const next = first === undefined ? standIn(version, thrown, chain) : undefined
        if (next === undefined) throw thrown
        choice = await this.choose(next, key)
      }
    }
  }

  async #call(
    ref: string,
    tasks: readonly Manifest['task'][],
    request: (version: Version) => NewRequest,
    { signal, deadline = this.#config.deadline, key }: CallOptions,
    within = false,
  ): Promise<Prediction> {
    for (const chain: string[] = [ref]; ; ) {
      const asked = chain.at(-1)!
      const { version, told } = await this.choose(asked, key)
      const { name, manifest } = version
      checkTask(version, tasks)
      if (within && manifest.composition)
        throw fail('UNSUPPORTED', { what: 'a pipeline within a pipeline', instead: 'Use its models in their place.' })
      const what = request(version)
      checkPairs(version, what)
      const began = monotonic()
      try {
        const { output, timings } = await this.#run(version, what, { deadline, signal, key })
        told?.({ failed: false, ms: monotonic() - began })
        if (!asked.includes('@') && this.#rollouts.has(name)) void this.#reflect(version, what, output)
        return { model: name, version: version.version, manifest, output, timings }
      } catch (thrown) {
        if (!signal?.aborted) told?.({ failed: true, ms: monotonic() - began })
        const next = standIn(version, thrown, chain)
        if (next === undefined) throw thrown
        chain.push(next)
      }
    }
  }

  async #run(
    version: Version,
    request: NewRequest,
    { deadline = this.#config.deadline, signal, key }: CallOptions,
  ): Promise<{ output: EngineOutput; timings: Timings }> {
    const until = monotonic() + deadline
    const { composition } = version.manifest
    if (composition && 'texts' in request)
      return this.#compose(version.manifest, composition, request.texts, { until, signal, key })
    const { engine, release } = await this.#admit(version, deadline, signal)
    try {
      const left = Math.max(1, Math.round(until - monotonic()))
      return await engine.request(request, { ...(signal && { signal }), deadline: left })
    } finally {
      release()
    }
  }

  /** What a pipeline says: each of its models is asked within what is left of the time, `until` then. */
  async #compose(
    { labels }: Manifest,
    composition: NonNullable<Manifest['composition']>,
    texts: readonly string[],
    { until, signal, key }: Pick<CallOptions, 'signal' | 'key'> & { until: number },
  ): Promise<{ output: EngineOutput; timings: Timings }> {
    const began = monotonic()
    const probabilities = await runComposition(composition, labels, texts, async (ref, some) => {
      const left = { deadline: Math.max(1, Math.round(until - monotonic())), signal, key }
      const said = await this.#call(ref, ['text-classification'], () => ({ texts: [...some] }), left, true)
      if (said.output.kind !== 'texts') throw new TypeError(`a classifier answered ${said.output.kind}`)
      return { labels: said.manifest.labels, probabilities: said.output.probabilities }
    })
    const timings = { queue: 0, pre: 0, run: monotonic() - began, post: 0, batch: texts.length }
    return { output: { kind: 'texts', probabilities }, timings }
  }

  /** Has what was answered compared with what other versions say, where a deployment wants that. */
  async #reflect(version: Version, request: NewRequest, output: EngineOutput) {
    const { name, version: number } = version
    const other = async (to: number) => this.resolve(`${name}@${to}`)
    const shadow = this.#rollouts.shadowOf(name)
    const stable = this.#rollouts.comparedWith(name, number)
    if (shadow !== undefined) this.#mirror.offer({ version, to: await other(shadow), request, output })
    if (stable !== undefined) {
      const told = (differ: boolean) => this.#rollouts.compared(name, number, differ)
      this.#mirror.offer({ version, to: await other(stable), request, output, told })
    }
  }

  /** Counts the right label of an answer of a model, that was given at a time. */
  labelled(model: string, label: { version: number; right: boolean; at: string }) {
    this.#rollouts.labelled({ model, ...label })
  }

  /** What shadows of a model said beside what was answered. */
  shadows(model: string) {
    return this.#mirror.reports(model)
  }

  /** The version that answers this call: by a deployment's weights and the call's key, else what the ref means. */
  async choose(ref: string, key?: string): Promise<Choice> {
    const pick = ref.includes('@') ? undefined : this.#rollouts.pick(ref, key)
    if (!pick) return { version: await this.resolve(ref) }
    const version = await this.resolve(`${ref}@${pick.version}`)
    return { version, ...(pick.told && { told: pick.told }) }
  }

  /** An engine that can answer within `deadline` milliseconds, as far as can be told from what waits for it. */
  async #admit(version: Version, deadline: number, signal?: AbortSignal): Promise<Lease> {
    const { name } = version
    const leased = this.#engines.lease(version)
    const lease = await (this.isLoaded(name, version.version) ? leased : within(leased, deadline, signal))
    const { waiting, expectedWait = 0 } = lease.engine
    const hopeless = waiting > QUEUE && expectedWait > deadline
    if (waiting < this.#config.queueLimit && !hopeless) return lease
    lease.release()
    const wait = Math.round(expectedWait)
    const retryAfter = Math.max(1, Math.ceil((wait - deadline) / 1000))
    if (hopeless) throw fail('DEADLINE_HOPELESS', { name, queued: waiting, wait, limit: deadline, retryAfter })
    throw fail('OVERLOADED', { name, queued: waiting, retryAfter: Math.max(1, Math.ceil(wait / 1000)) })
  }

  /** What a ref means, of a deployment its stable version; remembered until the registry or a deployment changes. */
  resolve(ref: string): Promise<Resolved> {
    const known = this.#resolved.get(ref)
    if (known) return known
    const stable = ref.includes('@') ? undefined : this.#rollouts.stableOf(ref)
    const asked =
      stable === undefined
        ? this.#registry.resolve(ref)
        : this.#registry.resolve(`${ref}@${stable}`).then((version) => ({ ...version, via: ref }))
    if (this.#resolved.size > 10_000) this.#resolved.clear()
    this.#resolved.set(ref, asked)
    asked.catch(() => this.#resolved.delete(ref))
    return asked
  }

  /** Brings a version into memory and warms it up. */
  async load(ref: string): Promise<Version> {
    const version = await this.resolve(ref)
    await this.#load(version)
    return version
  }

  /** Of a pipeline, the models that it is made of. */
  async #load(version: Version): Promise<void> {
    const { composition } = version.manifest
    if (!composition) return this.#engines.load(version)
    for (const step of Object.values(composition.nodes)) if ('model' in step) await this.load(step.model)
  }

  /** Changes how a model is served; what is in memory is replaced without a failed request. */
  async serve(model: string, changes: Parameters<Rollouts['setServing']>[1]): Promise<Serving> {
    const stable = await this.resolve(model)
    const serving = await this.#rollouts.setServing(model, changes)
    const restarts = (['replicas', 'threads', 'tokenBudget'] as const).some((name) => name in changes)
    if (restarts) for (const version of this.#engines.versionsOf(model)) await this.#engines.reload(version)
    if (serving.pinned) await this.#load(stable)
    return serving
  }

  /** Measures ways to run a version and serves its model by the best from then on. Throws UNSUPPORTED. */
  async tune(ref: string): Promise<Tuning> {
    const found = await this.resolve(ref)
    const { name, version, manifest } = found
    const tuning = await tune({ name, version, manifest, files: await this.#registry.checkout(found) })
    await this.serve(name, tuning.chosen)
    return tuning
  }

  /** Ends the engines of a version, after what is in flight; true if there were any. */
  async unload(ref: string): Promise<boolean> {
    return this.#engines.unload(await this.resolve(ref))
  }

  /** Deletes a model or version after ending its engines. */
  async delete(ref: string): Promise<void> {
    const { name, version } = await this.resolve(ref)
    if (ref.includes('@')) this.#rollouts.checkFree(name, version)
    else if (this.#rollouts.has(name)) await this.#rollouts.remove(name, 'athanor')
    for (const loaded of this.#engines.versionsOf(name))
      if (!ref.includes('@') || loaded.version === version) await this.#engines.unload(loaded)
    await this.#registry.delete(ref)
  }

  /** Engines that are loaded, for those who look after them. */
  get engines(): readonly AnyEngine[] {
    return this.#engines.running
  }

  isLoaded(name: string, version: number): boolean {
    return this.#engines.has(name, version)
  }

  list(): Promise<LoadedEngine[]> {
    return this.#engines.list()
  }

  batches(name: string, version: number): number {
    return this.#engines.batches(name, version)
  }

  close(): Promise<void> {
    return this.#engines.close()
  }
}

/** What is leased, unless that takes too long or the caller goes away; then it is given back when it comes. */
async function within(leased: Promise<Lease>, limit: number, signal?: AbortSignal): Promise<Lease> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(fail('DEADLINE_EXCEEDED', { limit })), limit)
  const abort = () => reject(fail('CANCELLED'))
  signal?.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([leased, promise])
  } catch (error) {
    leased.then(
      ({ release }) => release(),
      () => undefined,
    )
    throw error
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}
