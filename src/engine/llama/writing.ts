import { type AthanorError, fail } from '../../base/errors.ts'
import { Channel } from '../channel.ts'
import type { GenerationEvent, GenerationRequest, TokenChance } from '../messages.ts'
import { TextStream } from '../text-stream.ts'
import type { Draw, GrammarState, Loaded, Model, NativeContext, NativeSampler } from './library.ts'
import type { Text } from './steps.ts'

/** Tokens that a character may be spread over. */
const PIECES = 4
const LAST = -1
/** Tokens that count as lately written. */
const LATELY = 256

interface Work {
  readonly prompt: readonly number[]
  /** Most tokens to write. */
  readonly limit: number
  readonly request: GenerationRequest
  readonly signal: AbortSignal
  /** What may be written, where that is not everything. */
  readonly state?: GrammarState
}

interface Drawn {
  readonly token: number
  /** Log-probabilities that the model itself gave to the token and the likeliest ones. */
  readonly chances?: { readonly logprob: number; readonly top: readonly (readonly [token: number, logprob: number])[] }
}

/** One text that is written on a seat, which keeps what it read for the next. */
export class Writing implements Text<Drawn> {
  readonly tokens: number[]
  readonly events = new Channel<GenerationEvent>()
  readonly #loaded: Loaded
  readonly #request: GenerationRequest
  readonly #state: GrammarState | undefined
  readonly #signal: AbortSignal
  readonly #prompt: number
  readonly #limit: number
  /** As large as the vocabulary: made for the first token, not for those who wait for a seat. */
  #sampler: NativeSampler | undefined
  /** Tells what the model itself says. */
  #plain: NativeSampler | undefined
  readonly #stream: TextStream
  /** Tokens whose text nobody reads before the end. */
  readonly #unread: number[] | undefined
  /** Why it needs no more tokens. */
  #finish: 'stop' | 'length' | undefined
  #told = 0
  #ended = false

  constructor(loaded: Loaded, { prompt, limit, request, signal, state }: Work) {
    this.tokens = [...prompt]
    this.#loaded = loaded
    this.#request = request
    this.#state = state
    this.#signal = signal
    this.#prompt = prompt.length
    this.#limit = limit
    this.#stream = new TextStream(new Characters(loaded.model, prompt), request.stop)
    this.#unread = request.whole && request.logprobs === undefined && request.stop.length === 0 ? [] : undefined
  }

  get over(): boolean {
    return this.#ended || this.#finish !== undefined || this.#signal.aborted
  }

  async draw(context: NativeContext, logits: number): Promise<Drawn> {
    this.#sampler ??= this.#loaded.sampler(drawOf(this.#request, this.tokens, this.#state))
    const token = await context.sampleToken(logits, this.#sampler)
    if (token < 0) throw fail('INTERNAL', {}, { cause: new Error('no token can be drawn') })
    const chances = await this.#chances(context, logits, token)
    if (this.#loaded.model.isEogToken(token)) this.#finish = 'stop'
    else {
      this.tokens.push(token)
      if (this.tokens.length - this.#prompt >= this.#limit) this.#finish = 'length'
    }
    return { token, ...(chances && { chances }) }
  }

  tell({ token, chances }: Drawn) {
    if (this.#ended || this.#signal.aborted) return
    if (this.#finish === 'stop') return this.#end('stop')
    this.#told++
    const { text, stopped } = this.#unread ? { text: '', stopped: false } : this.#stream.push(token)
    this.#unread?.push(token)
    this.events.push({ type: 'token', token, text, ...(chances && this.#tokens(token, chances)) })
    if (stopped) this.#end('stop', true)
    else if (this.#finish) this.#end(this.#finish)
  }

  fail(error: AthanorError) {
    this.#ended = true
    this.events.fail(error)
  }

  leave() {
    if (this.#signal.aborted && !this.#ended) this.#end('cancelled')
    this.#sampler?.dispose()
    this.#plain?.dispose()
  }

  #end(finish: 'stop' | 'length' | 'cancelled', stopped = false) {
    this.#ended = true
    const rest = stopped ? { text: '', stopped } : this.#rest()
    const usage = { promptTokens: this.#prompt, completionTokens: this.#told }
    this.events.push({ type: 'end', text: rest.text, finish: rest.stopped ? 'stop' : finish, usage })
    this.events.close()
  }

  /** What is left to show when no token follows. */
  #rest(): { text: string; stopped: boolean } {
    if (this.#unread) {
      const before = this.tokens.slice(0, this.#prompt).slice(-PIECES)
      return { text: this.#loaded.model.detokenize(this.#unread, false, before), stopped: false }
    }
    const left = this.#stream.push(LAST)
    if (left.stopped) return left
    const { text, stopped } = this.#stream.end()
    return { text: left.text + text, stopped }
  }

  async #chances(context: NativeContext, logits: number, token: number): Promise<Drawn['chances']> {
    const count = this.#request.logprobs
    if (count === undefined) return undefined
    this.#plain ??= this.#loaded.sampler({ temperature: 0 })
    const asked = [[token], false, false, true, count] as const
    const [, , , flat, weight] = await context.sampleToken(logits, this.#plain, false, false, asked, true)
    const found = new Map<number, number>()
    for (let i = 0; i < flat.length; i += 2) found.set(flat[i], flat[i + 1])
    const total = Math.max(...found.values()) + Math.log(weight)
    const all = [...found].map(([id, logit]) => [id, logit - total] as const)
    const top = all.sort((a, b) => b[1] - a[1]).slice(0, count)
    return { logprob: found.get(token)! - total, top }
  }

  #tokens(token: number, { logprob, top }: NonNullable<Drawn['chances']>) {
    const piece = (id: number, chance: number): TokenChance => {
      const text = this.#loaded.model.detokenize([id], true)
      return { token: id, text, bytes: [...Buffer.from(text)], logprob: chance }
    }
    return { logprob, bytes: piece(token, logprob).bytes, top: top.map(([id, chance]) => piece(id, chance)) }
  }
}

function drawOf(request: GenerationRequest, prompt: readonly number[], state: GrammarState | undefined): Draw {
  const { temperature, topK, topP, seed, repetitionPenalty, presencePenalty, frequencyPenalty } = request
  const penalised = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0
  return {
    temperature,
    ...(topK > 0 && { topK }),
    topP,
    seed: seed ?? Math.floor(Math.random() * 2 ** 32),
    ...(penalised && {
      repeatPenaltyTokens: Uint32Array.from(repetitionPenalty === 1 ? [] : prompt.slice(-LATELY)),
      repeatPenaltyMaxTokens: LATELY,
      repeatPenalty: repetitionPenalty,
      repeatPenaltyPresencePenalty: presencePenalty,
      repeatPenaltyFrequencyPenalty: frequencyPenalty,
    }),
    ...(state && { grammarEvaluationState: state }),
  }
}

/** Tokens as the bytes of whole characters: those of one that is not complete come with the token that completes it. */
class Characters {
  readonly #model: Model
  readonly #before: number[]
  #open: number[] = []

  constructor(model: Model, prompt: readonly number[]) {
    this.#model = model
    this.#before = prompt.slice(-PIECES)
  }

  /** `LAST` brings what is left when no token follows. */
  bytes(token: number): Uint8Array {
    if (token !== LAST) this.#open.push(token)
    const text = this.#model.detokenize(this.#open, false, this.#before)
    if (token !== LAST && text.endsWith('\ufffd') && this.#open.length < PIECES) return new Uint8Array()
    this.#before.push(...this.#open)
    this.#before.splice(0, this.#before.length - PIECES)
    this.#open = []
    return Buffer.from(text)
  }
}
