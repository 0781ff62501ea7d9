import type { ChildProcess } from 'node:child_process'
import { AthanorError, type ErrorCode, fail } from '../base/errors.ts'
import type { HubInput } from '../bundle/hub.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Window } from '../drift/sketch.ts'
import { Channel } from './channel.ts'
import {
  type EngineAnswer,
  type EngineEvent,
  type EngineOutput,
  type EngineRequest,
  type EngineStats,
  type FromEngine,
  type GenerationEvent,
  type GenerationRequest,
  monotonic,
  type Timings,
  type ToEngine,
} from './messages.ts'
import { startProcess } from './processes.ts'

export interface EngineSpec {
  name: string
  version: number
  manifest: Manifest
  /** Paths of the bundle's files. */
  files: Record<string, string>
  /** The folder of the library that runs it, where that is not part of the installation. */
  library?: string
}

export interface EngineOptions {
  /** As many as suit the version where absent. */
  threads?: number
  /** Most tokens in one batch, padding included. */
  tokenBudget: number
  /** Milliseconds without a sign of life, work pending, after which an engine is taken for hung. */
  hangLimit: number
  /** Milliseconds a bundle may take to load. */
  loadLimit: number
}

const engineDefaults: EngineOptions = {
  tokenBudget: 8192,
  hangLimit: 20_000,
  loadLimit: 120_000,
}

/** `failing`: another server that is left alone for a while. */
export type EngineState = 'starting' | 'ready' | 'restarting' | 'failing' | 'broken' | 'stopped'

interface Pending {
  request: EngineRequest
  attempts: number
  resolve(answer: { output: EngineOutput; timings: Timings }): void
  reject(error: AthanorError): void
  /** Where a generation's events go. */
  tell?(event: GenerationEvent): void
  /** Something has gone out to the caller: it cannot be asked again. */
  begun?: boolean
}

export type NewRequest =
  | { texts: string[]; pairs?: string[]; raw?: boolean; topK?: number; ids?: number[][] }
  | { images: Extract<EngineRequest, { kind: 'images' }>['images'] }
  | { inputs: Extract<EngineRequest, { kind: 'tensors' }>['inputs'] }
  | { input: HubInput }

/** A mean of the last few answers' times, in which each counts for a fifth. */
const paceAfter = (pace: number, took: number) => (pace === 0 ? took : 0.8 * pace + 0.2 * took)

/** Seconds before a restart after so many quick deaths in a row. */
const backoff = (quickDeaths: number) => (quickDeaths === 0 ? 0 : Math.min(30, 2 ** (quickDeaths - 1)))
/** An engine that served this many milliseconds did not die of its start. */
const SETTLED = 5_000
const CRASHES_ALLOWED = 5
const CRASH_WINDOW = 60_000

/**
 * A child process that runs one version. When it dies it is started again; what it was asked is asked once more, and a
 * request that meets a second death fails with ENGINE_CRASHED. Five deaths in a minute break the engine.
 */
export class Engine {
  readonly spec: EngineSpec
  readonly #options: EngineOptions
  readonly #newProcess: () => ChildProcess
  readonly loadedAt = new Date().toISOString()
  state: EngineState = 'starting'
  requests = 0
  /** Batches that its process had run when it last answered. */
  batches = 0
  #child: ChildProcess | undefined
  #ready: Promise<void>
  readonly #pending = new Map<number, Pending>()
  readonly #statsWaiting = new Map<number, (stats: EngineStats) => void>()
  #outgoing: EngineRequest[] = []
  #lastSign = monotonic()
  #crashes: number[] = []
  #quickDeaths = 0
  /** When the process became ready; 0 until it is. */
  #readyAt = 0
  #nextId = 1
  /** Milliseconds an answer took of late, and from when the next ones are counted. */
  #pace = 0
  #workingSince = 0
  readonly #watchdog: NodeJS.Timeout
  /** Told of each death of the process. */
  onCrash: (reason: string) => void = () => {}
  /** Told of each full window of requests. */
  onWindow: (window: Window) => void = () => {}

  /** `newProcess` brings the process that it runs in, and those after a death. */
  constructor(spec: EngineSpec, options: Partial<EngineOptions> = {}, newProcess: () => ChildProcess = startProcess) {
    this.spec = spec
    this.#newProcess = newProcess
    this.#options = { ...engineDefaults, ...options }
    this.#ready = this.#start()
    this.#ready.catch(() => undefined)
    this.#watchdog = setInterval(() => this.#checkAlive(), 1000).unref()
  }

  /** Resolves when the bundle is loaded; throws what loading threw (MODEL_INVALID, …). */
  get ready(): Promise<void> {
    return this.#ready
  }
  get pid(): number | undefined {
    return this.#child?.pid
  }
  get waiting(): number {
    return this.#pending.size
  }
  /** Milliseconds that what is waiting will take, by how fast answers came of late; 0 while that is not known. */
  get expectedWait(): number {
    return this.#pending.size * this.#pace
  }

  /**
   * Throws ENGINE_CRASHED, MODEL_NOT_READY, DEADLINE_EXCEEDED, CANCELLED when `signal` fires, or what the model says of its
   * input. What its caller gave up before it is in a batch is not run.
   */
  request(
    what: NewRequest,
    { signal, deadline, canary = false }: { signal?: AbortSignal; deadline: number; canary?: boolean },
  ): Promise<{ output: EngineOutput; timings: Timings }> {
    const refusal = signal?.aborted ? fail('CANCELLED') : this.#refusal()
    if (refusal) return Promise.reject(refusal)
    const base = { id: this.#nextId++, at: monotonic(), ...(canary && { canary }) }
    const request: EngineRequest =
      'texts' in what
        ? { ...base, kind: 'texts', ...what }
        : 'images' in what
          ? { ...base, kind: 'images', images: what.images }
          : 'input' in what
            ? { ...base, kind: 'hub', input: what.input }
            : { ...base, kind: 'tensors', inputs: what.inputs }
    if (!canary) this.requests++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => giveUp(fail('DEADLINE_EXCEEDED', { limit: deadline })), deadline)
      const abort = () => giveUp(fail('CANCELLED'))
      const settle = (result: AthanorError | { output: EngineOutput; timings: Timings }) => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.#pending.delete(request.id)
        if (result instanceof AthanorError) reject(result)
        else resolve(result)
      }
      const giveUp = (error: AthanorError) => {
        settle(error)
        this.#withdraw(request)
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#pending.set(request.id, { request, attempts: 0, resolve: settle, reject: settle })
      this.#queue(request)
    })
  }

  /**
   * What the model writes, event by event. When the reader stops or `signal` fires, the engine is told to stop; after
   * `signal` the last event is an `end` with finish `cancelled`. Throws ENGINE_CRASHED when the process dies after the
   * first event, and else as `request`.
   */
  async *generate(
    generation: GenerationRequest,
    { signal, deadline, canary = false }: { signal?: AbortSignal; deadline: number; canary?: boolean },
  ): AsyncGenerator<GenerationEvent, undefined> {
    const refusal = this.#refusal()
    if (refusal) throw refusal
    const channel = new Channel<GenerationEvent>()
    const id = this.#nextId++
    const request: EngineRequest = { id, at: monotonic(), kind: 'generate', generation }
    let written = 0
    const cancel = () => this.#send({ type: 'cancel', id })
    const abort = () => {
      cancel()
      channel.push({
        type: 'end',
        text: '',
        finish: 'cancelled',
        usage: { promptTokens: 0, completionTokens: written },
      })
      channel.close()
    }
    const pending: Pending = {
      request,
      attempts: 0,
      resolve: () => channel.close(),
      reject: (error) => channel.fail(error),
      tell(event) {
        pending.begun = true
        channel.push(event)
        if (event.type === 'token') written++
        else channel.close()
      },
    }
    if (!canary) this.requests++
    this.#pending.set(id, pending)
    const timer = setTimeout(() => channel.fail(fail('DEADLINE_EXCEEDED', { limit: deadline })), deadline)
    signal?.addEventListener('abort', abort, { once: true })
    let ended = false
    try {
      if (signal?.aborted) abort()
      else this.#queue(request)
      for await (const event of channel) {
        ended = event.type === 'end' && event.finish !== 'cancelled'
        yield event
      }
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      this.#pending.delete(id)
      if (!ended) this.#withdraw(request)
    }
  }

  /** What has not been sent is not; of what has, the engine is told that nobody waits for it. */
  #withdraw(request: EngineRequest) {
    const at = this.#outgoing.indexOf(request)
    if (at >= 0) this.#outgoing.splice(at, 1)
    else this.#send({ type: 'cancel', id: request.id })
  }

  #refusal(): AthanorError | undefined {
    if (this.state !== 'broken' && this.state !== 'stopped') return undefined
    const reason = this.state === 'broken' ? 'its engine keeps crashing' : 'it is unloaded'
    return fail('MODEL_NOT_READY', { name: this.spec.name, reason })
  }

  async stats(): Promise<EngineStats | undefined> {
    const child = this.#child
    if (this.state !== 'ready' || !child) return undefined
    const id = this.#nextId++
    const { promise, resolve } = Promise.withResolvers<EngineStats | undefined>()
    this.#statsWaiting.set(id, resolve)
    this.#send({ type: 'stats', id })
    const timer = setTimeout(() => resolve(undefined), 1000)
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      this.#statsWaiting.delete(id)
    }
  }

  /** Waits for what is in flight, up to `grace` milliseconds, then ends the process. */
  async stop(grace = 10_000) {
    if (this.state === 'stopped') return
    const limit = monotonic() + grace
    while (this.#pending.size > 0 && monotonic() < limit) await new Promise((resolve) => setTimeout(resolve, 5))
    this.state = 'stopped'
    clearInterval(this.#watchdog)
    this.#failAll('MODEL_NOT_READY', { name: this.spec.name, reason: 'it is unloaded' })
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL') // it holds nothing that needs saving, and native code need not hear anything else
    await exited
  }

  #start(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const child = this.#newProcess()
    this.#child = child
    this.#lastSign = monotonic()
    const timer = setTimeout(() => {
      reject(fail('MODEL_NOT_READY', { name: this.spec.name, reason: 'it did not load in time' }))
      child.kill('SIGKILL')
    }, this.#options.loadLimit)
    child.on('message', (message: FromEngine) => {
      if (message.type !== 'stats') this.#lastSign = monotonic() // those are told while a lane hangs, too
      if (message.type === 'answers' || message.type === 'events') this.batches = message.batches
      if (message.type === 'answers') {
        this.#pace = paceAfter(this.#pace, (this.#lastSign - this.#workingSince) / message.answers.length)
        this.#workingSince = this.#lastSign
        for (const answer of message.answers) this.#settle(answer)
      } else if (message.type === 'events') for (const event of message.events) this.#tell(event)
      else if (message.type === 'stats') this.#statsWaiting.get(message.id)?.(message.stats)
      else if (message.type === 'window') this.onWindow(message.window)
      else if (message.type === 'ready') {
        clearTimeout(timer)
        this.state = 'ready'
        this.#readyAt = monotonic()
        resolve()
        for (const { request } of this.#pending.values()) this.#queue(request)
      } else if (message.type === 'failed') {
        clearTimeout(timer)
        const error = fail(message.error.code as ErrorCode, message.error.details)
        this.state = 'broken'
        this.#failAll(error.code, error.details)
        reject(error)
        child.kill('SIGKILL')
      }
    })
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      reject(fail('ENGINE_CRASHED', { name: this.spec.name }))
      if (child === this.#child && this.state !== 'stopped' && this.state !== 'broken')
        this.#crashed(signal ?? `code ${code}`)
    })
    const { manifest, files, library } = this.spec
    const { threads, tokenBudget } = this.#options
    const given = { ...(threads !== undefined && { threads }), ...(library !== undefined && { library }) }
    this.#send({ type: 'load', manifest, files, tokenBudget, ...given })
    return promise
  }

  #crashed(reason: string) {
    this.onCrash(reason)
    const now = monotonic()
    this.#crashes = [...this.#crashes.filter((at) => now - at < CRASH_WINDOW), now]
    this.#quickDeaths = now - this.#readyAt < SETTLED || this.#readyAt === 0 ? this.#quickDeaths + 1 : 0
    this.#readyAt = 0
    this.#outgoing = []
    for (const pending of [...this.#pending.values()]) {
      if (pending.attempts >= 2 || pending.begun) pending.reject(fail('ENGINE_CRASHED', { name: this.spec.name }))
    }
    if (this.#crashes.length >= CRASHES_ALLOWED) {
      this.state = 'broken'
      this.#failAll('ENGINE_CRASHED', { name: this.spec.name })
      return
    }
    this.state = 'restarting'
    setTimeout(() => {
      if (this.state !== 'restarting') return
      this.#ready = this.#start()
      this.#ready.catch(() => undefined)
    }, backoff(this.#quickDeaths) * 1000)
  }

  #checkAlive() {
    const sent = [...this.#pending.values()].some(({ attempts }) => attempts > 0)
    if (this.state !== 'ready' || !sent) this.#lastSign = monotonic()
    else if (monotonic() - this.#lastSign > this.#options.hangLimit) this.#child?.kill('SIGKILL')
  }

  /** Requests of one turn of the event loop go out in one message. */
  #queue(request: EngineRequest) {
    if (this.state !== 'ready') return // sent when it is
    if (this.#pending.size === 1) this.#workingSince = monotonic()
    this.#outgoing.push(request)
    if (this.#outgoing.length > 1) return
    setImmediate(() => {
      const requests = this.#outgoing
      this.#outgoing = []
      if (requests.length === 0 || this.state !== 'ready') return
      for (const { id } of requests) {
        const pending = this.#pending.get(id)
        if (pending) pending.attempts++
      }
      this.#send({ type: 'requests', requests })
    })
  }

  #settle(answer: EngineAnswer) {
    const pending = this.#pending.get(answer.id)
    if (!pending) return // given up meanwhile
    if ('error' in answer)
      pending.reject(fail(answer.error.code as ErrorCode, { ...answer.error.details, model: this.spec.name }))
    else pending.resolve(answer)
  }

  #tell(told: EngineEvent) {
    const pending = this.#pending.get(told.id)
    if (!pending) return // the caller is gone
    if ('error' in told)
      pending.reject(fail(told.error.code as ErrorCode, { ...told.error.details, model: this.spec.name }))
    else pending.tell?.(told.event)
  }

  #failAll(code: ErrorCode, details: Record<string, string | number>) {
    for (const pending of [...this.#pending.values()]) pending.reject(fail(code, details))
  }

  #send(message: ToEngine) {
    if (this.#child?.connected) this.#child.send(message, () => undefined)
  }
}
