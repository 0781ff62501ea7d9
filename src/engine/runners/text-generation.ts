import { asAthanorError, fail } from '../../base/errors.ts'
import { ChatTemplate } from '../../data/chat.ts'
import { TextCodec } from '../../data/codec.ts'
import { type GenerationConfig, generationConfig } from '../../data/generation.ts'
import { Sketch } from '../../drift/sketch.ts'
import type { Cache } from '../cache.ts'
import { Channel } from '../channel.ts'
import { Decoder } from '../decoder.ts'
import { type Form, Forms } from '../form.ts'
import type { GenerationEvent, GenerationRequest } from '../messages.ts'
import type { OpenRunner } from '../runner.ts'
import { Sampler } from '../sampling.ts'
import { openGraph } from '../session.ts'
import { plainMessages, shapeOf, withCalls } from '../shape.ts'
import { TextStream } from '../text-stream.ts'

/** Texts that are written at the same time; more wait for a place. */
const ROW_LIMIT = 64
/** Tokens of prompts read in one run, so that the texts under way do not wait long for a long prompt. */
const PREFILL = 256

/** A text under way. */
interface Text {
  readonly request: GenerationRequest
  readonly signal: AbortSignal
  readonly channel: Channel<GenerationEvent>
  readonly prompt: readonly number[]
  /** What may be written, where that is not everything. */
  readonly form: Form | undefined
  readonly sampler: Sampler
  readonly stream: TextStream
  readonly limit: number
  written: number
  /** The token to be read next. */
  last: number
  finished: boolean
}

/** Prompts being read together, a piece at each step. */
interface Prefill {
  readonly texts: readonly Text[]
  cache: Cache
}

/** Runs a decoder's texts in one batch, token by token: new ones join between steps, finished ones leave. */
export const textGenerationRunner: OpenRunner = async (manifest, read, options) => {
  const { onWindow } = options
  const session = await openGraph(read, options)
  const codec = TextCodec.load(Buffer.from(read('tokenizer.json')).toString('utf8'))
  const config = generationConfig(manifest.pipeline)
  const names = new Map([...codec.special].map(([content, id]) => [id, content]))
  const template =
    config.chatTemplate === undefined
      ? undefined
      : new ChatTemplate(config.chatTemplate, {
          bos_token: names.get(config.start ?? -1) ?? '',
          eos_token: names.get(config.end[0]) ?? '',
        })
  const batch = new Batch(new Decoder(session, manifest), codec, config)
  const forms = new Forms(codec, config)
  const sketch = onWindow && manifest.reference && Sketch.ofRead(manifest.reference)
  return {
    get batches() {
      return batch.runs
    },
    async *run(requests) {
      for (const { id } of requests) {
        const { code, details } = fail('BAD_REQUEST', { message: 'this model writes texts: use its generate route' })
        yield { id, error: { code, details } }
      }
    },
    async *generate(request, signal) {
      const shape = shapeOf(request)
      const prompt = await promptOf(request, codec, config, template)
      const window = sketch?.add({ ids: prompt })
      if (window) onWindow?.(window)
      yield* withCalls(batch.add(request, prompt, signal, shape.grammar && forms.open(shape.grammar)), shape.tools)
    },
    close: () => session.release(),
  }
}

async function promptOf(
  request: GenerationRequest,
  codec: TextCodec,
  config: GenerationConfig,
  template: ChatTemplate | undefined,
): Promise<readonly number[]> {
  const { prompt, messages } = request
  if (messages && !template)
    throw fail('BAD_REQUEST', { message: 'this model was not trained on conversations: send a prompt' })
  const ids = await codec.encode(messages ? template!.render(plainMessages(request), { answer: true }) : (prompt ?? ''))
  if (ids.length === 0 && config.start !== undefined) ids.push(config.start)
  if (ids.length === 0) throw fail('BAD_REQUEST', { message: 'prompt: expected at least one token' })
  if (ids.length >= config.context) throw fail('PROMPT_TOO_LONG', { tokens: ids.length, limit: config.context })
  return ids
}

class Batch {
  readonly #decoder: Decoder
  readonly #codec: TextCodec
  readonly #config: GenerationConfig
  #waiting: Text[] = []
  #prefill: Prefill | undefined
  #texts: Text[] = []
  #cache: Cache | undefined
  #busy = false

  constructor(decoder: Decoder, codec: TextCodec, config: GenerationConfig) {
    this.#decoder = decoder
    this.#codec = codec
    this.#config = config
  }

  get runs(): number {
    return this.#decoder.runs
  }

  add(
    request: GenerationRequest,
    prompt: readonly number[],
    signal: AbortSignal,
    form: Form | undefined,
  ): AsyncIterable<GenerationEvent> {
    const channel = new Channel<GenerationEvent>()
    this.#waiting.push({
      request,
      signal,
      channel,
      prompt,
      form,
      sampler: new Sampler(request, prompt, this.#config.never),
      stream: new TextStream(this.#codec, request.stop),
      limit: Math.min(request.maxTokens, this.#config.context - prompt.length),
      written: 0,
      last: 0,
      finished: false,
    })
    if (!this.#busy) void this.#work()
    return channel
  }

  /** Steps until nothing is left to do; the event loop gets its turn between steps, so that others can join or cancel. */
  async #work() {
    this.#busy = true
    while (this.#waiting.length + this.#texts.length > 0 || this.#prefill) {
      try {
        await this.#step()
      } catch (thrown) {
        const error = asAthanorError(thrown)
        for (const { channel } of [...this.#waiting, ...this.#texts, ...(this.#prefill?.texts ?? [])])
          channel.fail(error)
        this.#waiting = []
        this.#texts = []
        this.#cache = undefined
        this.#prefill = undefined
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
    this.#busy = false
  }

  async #step() {
    for (const text of [...this.#waiting, ...this.#texts, ...(this.#prefill?.texts ?? [])])
      if (text.signal.aborted && !text.finished) this.#finish(text, 'cancelled')
    this.#waiting = this.#waiting.filter(({ finished }) => !finished)
    this.#prefill ??= this.#admit()
    if (this.#prefill) await this.#readPrompts(this.#prefill)
    this.#compact()
    if (this.#texts.length > 0) await this.#write()
  }

  /** The next prompts to read: as many as there is room for, of alike length, so that little is padding. */
  #admit(): Prefill | undefined {
    const room = ROW_LIMIT - this.#texts.length
    const [first] = this.#waiting
    if (!first || room <= 0) return undefined
    const texts: Text[] = []
    for (const text of this.#waiting) {
      const alike = text.prompt.length <= 2 * first.prompt.length && 2 * text.prompt.length >= first.prompt.length
      if (alike && texts.length < room && (texts.length + 1) * text.prompt.length <= 4 * PREFILL) texts.push(text)
      if (texts.length === 0) texts.push(first)
    }
    this.#waiting = this.#waiting.filter((text) => !texts.includes(text))
    return { texts, cache: this.#decoder.open(texts.map(({ prompt }) => prompt.length)) }
  }

  async #readPrompts(prefill: Prefill) {
    const { texts } = prefill
    if (texts.every(({ finished }) => finished)) {
      this.#prefill = undefined
      return
    }
    const longest = Math.max(...texts.map(({ prompt }) => prompt.length))
    const from = prefill.cache.length
    const count = Math.min(longest - from, Math.max(1, Math.floor(PREFILL / texts.length)))
    const ids = new BigInt64Array(texts.length * count)
    texts.forEach(({ prompt }, r) => {
      for (let t = 0; t < count; t++) {
        const at = from + t - (longest - prompt.length)
        ids[r * count + t] = BigInt(prompt[Math.max(0, at)])
      }
    })
    const { logits, cache } = await this.#decoder.read(prefill.cache, ids)
    prefill.cache = cache
    if (cache.length < longest) return
    this.#prefill = undefined
    texts.forEach((text, r) => {
      if (!text.finished) this.#take(text, logits[r])
    })
    const picked: (readonly [Cache, number])[] = this.#texts.map((_, row) => [this.#cache!, row])
    texts.forEach((text, r) => {
      if (text.finished) return
      this.#texts.push(text)
      picked.push([cache, r])
    })
    this.#cache = this.#decoder.gather(picked)
  }

  /** Takes finished texts out of the batch. */
  #compact() {
    if (!this.#texts.some(({ finished }) => finished)) return
    const kept = this.#texts.flatMap((text, row) => (text.finished ? [] : [{ text, row }]))
    this.#cache = kept.length > 0 ? this.#decoder.gather(kept.map(({ row }) => [this.#cache!, row])) : undefined
    this.#texts = kept.map(({ text }) => text)
  }

  /** One more token for every text. */
  async #write() {
    const ids = BigInt64Array.from(this.#texts, ({ last }) => BigInt(last))
    const { logits, cache } = await this.#decoder.read(this.#cache!, ids)
    this.#cache = cache
    this.#texts.forEach((text, r) => {
      this.#take(text, logits[r])
    })
  }

  #take(text: Text, logits: Float32Array) {
    const allowed = text.form?.allowed
    if (text.form && !allowed) return this.#finish(text, 'stop')
    const { token, logprob, top } = text.sampler.draw(logits, allowed)
    if (this.#config.end.includes(token)) return this.#finish(text, 'stop')
    text.form?.take(token)
    text.last = token
    text.written++
    const { text: shown, stopped } = text.stream.push(token)
    text.channel.push({
      type: 'token',
      token,
      text: shown,
      ...(logprob !== undefined && { logprob, bytes: [...this.#codec.bytes(token)] }),
      ...(top && { top: top.map((one) => ({ ...one, ...this.#piece(one.token) })) }),
    })
    if (stopped) this.#finish(text, 'stop', true)
    else if (text.written >= text.limit) this.#finish(text, 'length')
  }

  #piece(token: number) {
    const bytes = this.#codec.bytes(token)
    return { text: Buffer.from(bytes).toString('utf8'), bytes: [...bytes] }
  }

  #finish(text: Text, finish: 'stop' | 'length' | 'cancelled', complete = false) {
    text.finished = true
    const rest = complete ? { text: '', stopped: true } : text.stream.end()
    const usage = { promptTokens: text.prompt.length, completionTokens: text.written }
    text.channel.push({ type: 'end', text: rest.text, finish: rest.stopped ? 'stop' : finish, usage })
    text.channel.close()
  }
}
