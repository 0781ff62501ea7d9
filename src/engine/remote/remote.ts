import type { Egress } from '../../base/egress.ts'
import { fail } from '../../base/errors.ts'
import type { Remote } from '../../bundle/manifest.ts'
import type { AnyEngine } from '../any.ts'
import type { EngineSpec, EngineState, NewRequest } from '../engine.ts'
import type { EngineOutput, GenerationEvent, GenerationRequest, Timings } from '../messages.ts'
import { inferRemotely } from './oip.ts'
import { embedRemotely, generateRemotely } from './openai.ts'
import { Upstream } from './upstream.ts'

/** Why a call was ended from our side, unless it is an error that the caller is told. */
const GONE = Symbol('the caller is gone')

/** Runs a version on another server. It lives in the control process: it waits, and computes nothing. */
export class RemoteEngine implements AnyEngine {
  readonly spec: EngineSpec
  readonly loadedAt = new Date().toISOString()
  readonly ready = Promise.resolve()
  readonly pid = undefined
  readonly #remote: Remote
  readonly #upstream: Upstream
  readonly #calls = new Set<AbortController>()
  #stopped = false
  requests = 0
  onCrash = () => {}
  onWindow = () => {}

  /** Throws HOST_FORBIDDEN. */
  constructor(spec: EngineSpec, egress: Egress, key?: string) {
    this.spec = spec
    this.#remote = spec.manifest.remote!
    this.#upstream = new Upstream(spec.name, this.#remote, egress, key)
  }

  get state(): EngineState {
    if (this.#stopped) return 'stopped'
    return this.#upstream.failing ? 'failing' : 'ready'
  }
  get waiting(): number {
    return this.#calls.size
  }

  /** Vectors of texts, or outputs of tensors. Throws what `Upstream.send` throws, DEADLINE_EXCEEDED, or UNSUPPORTED. */
  async request(
    what: NewRequest,
    { signal, deadline }: { signal?: AbortSignal; deadline: number },
  ): Promise<{ output: EngineOutput; timings: Timings }> {
    const began = performance.now()
    const call = this.#open(signal, deadline)
    try {
      const output: EngineOutput =
        'texts' in what
          ? await embedRemotely(this.#upstream, this.#remote, what.ids ?? what.texts, call.signal)
          : { kind: 'tensors', outputs: await this.#infer(what, call.signal) }
      return { output, timings: { queue: 0, pre: 0, run: performance.now() - began, post: 0, batch: 1 } }
    } catch (thrown) {
      throw thrown === GONE ? fail('DEADLINE_EXCEEDED', { limit: deadline }) : thrown
    } finally {
      call.close()
    }
  }

  #infer(what: NewRequest, signal: AbortSignal) {
    if ('inputs' in what) return inferRemotely(this.#upstream, this.#remote, what.inputs, signal)
    throw fail('UNSUPPORTED', { what: 'an image for another server', instead: 'Send it as a tensor.' })
  }

  /** As `Engine.generate`: when the reader stops or the signal fires, the other server's answer is cut off. */
  async *generate(
    generation: GenerationRequest,
    { signal, deadline }: { signal?: AbortSignal; deadline: number },
  ): AsyncGenerator<GenerationEvent, undefined> {
    const call = this.#open(signal, deadline)
    let completionTokens = 0
    try {
      for await (const event of generateRemotely(this.#upstream, this.#remote, generation, call.signal)) {
        if (event.type === 'token') completionTokens++
        yield event
      }
    } catch (thrown) {
      if (thrown !== GONE) throw thrown
      yield { type: 'end', text: '', finish: 'cancelled', usage: { promptTokens: 0, completionTokens } }
    } finally {
      call.close()
    }
    return undefined
  }

  async stats() {
    return undefined // what it uses is used elsewhere
  }

  async stop(grace = 10_000) {
    const limit = performance.now() + grace
    while (this.#calls.size > 0 && performance.now() < limit) await new Promise((resolve) => setTimeout(resolve, 5))
    this.#stopped = true
    for (const call of this.#calls)
      call.abort(fail('MODEL_NOT_READY', { name: this.spec.name, reason: 'it is unloaded' }))
    await this.#upstream.close()
  }

  /** A signal that fires when the caller leaves, or time is over, until `close`. */
  #open(signal: AbortSignal | undefined, deadline: number) {
    if (this.#stopped) throw fail('MODEL_NOT_READY', { name: this.spec.name, reason: 'it is unloaded' })
    this.requests++
    const own = new AbortController()
    this.#calls.add(own)
    const leave = () => own.abort(GONE)
    const timer = setTimeout(() => own.abort(fail('DEADLINE_EXCEEDED', { limit: deadline })), deadline)
    if (signal?.aborted) leave()
    else signal?.addEventListener('abort', leave, { once: true })
    return {
      signal: own.signal,
      close: () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', leave)
        this.#calls.delete(own)
      },
    }
  }
}
