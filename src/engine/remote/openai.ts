import type { Readable } from 'node:stream'
import type { AthanorError } from '../../base/errors.ts'
import type { Remote } from '../../bundle/manifest.ts'
import type { ChatMessage, EngineOutput, GenerationEvent, GenerationRequest, TokenChance } from '../messages.ts'
import { eventData } from './events.ts'
import type { Upstream } from './upstream.ts'

/** From here on a limit of tokens is none. */
const NO_LIMIT = 1_000_000

interface Chance {
  token?: string
  logprob?: number
  bytes?: number[] | null
  top_logprobs?: Chance[]
}
interface CallDelta {
  index?: number
  id?: string
  function?: { name?: string; arguments?: string }
}
interface Written {
  content?: string | null
  tool_calls?: CallDelta[] | null
}
/** What is read of a reply or chunk of chat completions (`message`, `delta`) and completions (`text`). */
interface Chunk {
  error?: unknown
  choices?: {
    delta?: Written
    message?: Written
    text?: string
    finish_reason?: string | null
    logprobs?: { content?: Chance[] | null; tokens?: string[]; token_logprobs?: number[] } | null
  }[]
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null
}

/** A message in OpenAI's form. */
const messageOf = ({ role, content, calls, callId }: ChatMessage) => ({
  role,
  content: calls && content === '' ? null : content,
  ...(calls && {
    tool_calls: calls.map(({ id, name, arguments: given }) => ({
      id,
      type: 'function',
      function: { name, arguments: given },
    })),
  }),
  ...(callId !== undefined && { tool_call_id: callId }),
})

/** A generation as the body of a request to OpenAI's API; what is as it is by default is left out. */
function bodyOf(request: GenerationRequest, { model, url }: Pick<Remote, 'model' | 'url'>) {
  const { prompt, messages, maxTokens, stop, seed, json, tools, toolChoice, logprobs, whole } = request
  // OpenAI's own newer models refuse the older name, most other servers know no other
  const limit = new URL(url).hostname === 'api.openai.com' && messages ? 'max_completion_tokens' : 'max_tokens'
  return {
    model,
    ...(messages ? { messages: messages.map(messageOf) } : { prompt }),
    ...(maxTokens < NO_LIMIT && { [limit]: maxTokens }),
    temperature: request.temperature,
    ...(request.topP < 1 && { top_p: request.topP }),
    ...(request.topK > 0 && { top_k: request.topK }),
    ...(request.repetitionPenalty !== 1 && { repetition_penalty: request.repetitionPenalty }),
    ...(request.presencePenalty !== 0 && { presence_penalty: request.presencePenalty }),
    ...(request.frequencyPenalty !== 0 && { frequency_penalty: request.frequencyPenalty }),
    ...(stop.length > 0 && { stop }),
    ...(seed !== undefined && { seed }),
    ...(logprobs !== undefined && (messages ? { logprobs: true, top_logprobs: logprobs } : { logprobs })),
    ...(json && {
      response_format:
        json === true
          ? { type: 'json_object' }
          : { type: 'json_schema', json_schema: { name: 'answer', schema: json, strict: true } },
    }),
    ...(tools && { tools: tools.map((one) => ({ type: 'function', function: one })) }),
    ...(toolChoice && {
      tool_choice: typeof toolChoice === 'string' ? toolChoice : { type: 'function', function: toolChoice },
    }),
    ...(whole ? { stream: false } : { stream: true, stream_options: { include_usage: true } }),
  }
}

/**
 * Asks another server to write, as events of ours. Throws UPSTREAM_FAILED for a stream that breaks off or holds what is no
 * chunk, before or after the first event.
 */
export async function* generateRemotely(
  upstream: Upstream,
  remote: Remote,
  request: GenerationRequest,
  signal: AbortSignal,
): AsyncGenerator<GenerationEvent, undefined> {
  const path = request.messages ? '/chat/completions' : '/completions'
  const reply = await upstream.send({ path, body: JSON.stringify(bodyOf(request, remote)), signal })
  const type = String(reply.headers['content-type'] ?? '')
  const story = new Story(upstream)
  if (!type.startsWith('text/event-stream')) {
    yield* story.tell(upstream.parse((await upstream.read(reply, signal)).toString('utf8')) as Chunk)
    yield story.end()
    return undefined
  }
  let done = false
  try {
    for await (const data of eventData(reply.body)) {
      done = data === '[DONE]'
      if (done) break
      yield* story.tell(upstream.parse(data) as Chunk)
    }
  } catch (thrown) {
    throw upstream.broken(thrown, signal)
  } finally {
    if (done) drain(reply.body)
    else reply.body.destroy()
  }
  yield story.end()
  return undefined
}

/** Lets a stream that is over come to its end, so that its connection can be used again; one that does not end is cut. */
function drain(body: Readable) {
  const timer = setTimeout(() => body.destroy(), 1000).unref()
  body.once('close', () => clearTimeout(timer)).resume()
}

const finishes: Record<string, 'stop' | 'length' | 'calls'> = {
  length: 'length',
  tool_calls: 'calls',
  function_call: 'calls',
}

/** Chunks of one text, and what they come to. */
class Story {
  readonly #upstream: Upstream
  #finish: 'stop' | 'length' | 'calls' | undefined
  #usage: { promptTokens: number; completionTokens: number } | undefined
  #told = 0

  constructor(upstream: Upstream) {
    this.#upstream = upstream
  }

  *tell({ error, choices = [], usage }: Chunk): Generator<GenerationEvent> {
    if (error !== undefined) throw this.#garbage('an error on the way')
    if (usage) {
      const { prompt_tokens = 0, completion_tokens = 0 } = usage
      this.#usage = { promptTokens: prompt_tokens, completionTokens: completion_tokens }
    }
    const [choice] = choices
    if (!choice) return
    const { content, tool_calls } = choice.delta ?? choice.message ?? { content: choice.text }
    const text = content ?? ''
    if (typeof text !== 'string') throw this.#garbage('text that is no string')
    yield* this.#tokens(text, chancesOf(choice.logprobs))
    for (const [i, call] of (tool_calls ?? []).entries()) {
      this.#told++
      const { id, index = i, function: { name, arguments: given = '' } = {} } = call
      const delta = { index, arguments: given, ...(id && { id }), ...(name && { name }) }
      yield { type: 'token', token: -1, text: '', call: delta }
    }
    if (choice.finish_reason) this.#finish = finishes[choice.finish_reason] ?? 'stop'
  }

  /** Throws UPSTREAM_FAILED where the other server never said that the text is complete. */
  end(): GenerationEvent {
    if (!this.#finish) throw this.#garbage('its text broke off')
    return {
      type: 'end',
      text: '',
      finish: this.#finish,
      usage: this.#usage ?? { promptTokens: 0, completionTokens: this.#told },
    }
  }

  *#tokens(text: string, chances: readonly Chance[]): Generator<GenerationEvent> {
    if (text === '' && chances.length === 0) return
    if (chances.length === 0) {
      this.#told++
      yield { type: 'token', token: -1, text }
      return
    }
    for (const [i, chance] of chances.entries()) {
      this.#told++
      const { logprob, bytes } = chanceOf(chance)
      const top = (chance.top_logprobs ?? []).map(chanceOf)
      // the text goes out with the last of the tokens that it is of
      yield { type: 'token', token: -1, text: i === chances.length - 1 ? text : '', logprob, bytes, top }
    }
  }

  #garbage = (reason: string): AthanorError => this.#upstream.failed(reason)
}

const chancesOf = (given: NonNullable<Chunk['choices']>[number]['logprobs']): readonly Chance[] =>
  given?.content ?? given?.tokens?.map((token, i) => ({ token, logprob: given.token_logprobs?.[i] ?? 0 })) ?? []

const chanceOf = ({ token = '', logprob = 0, bytes }: Chance): TokenChance => ({
  token: -1,
  text: token,
  bytes: bytes ?? [...Buffer.from(token, 'utf8')],
  logprob,
})

/** Vectors of texts from another server's embeddings. Throws UPSTREAM_FAILED when they are not one for each, all of one width. */
export async function embedRemotely(
  upstream: Upstream,
  { model }: Remote,
  texts: readonly (string | readonly number[])[],
  signal: AbortSignal,
): Promise<Extract<EngineOutput, { kind: 'vectors' }>> {
  const body = JSON.stringify({ model, input: texts, encoding_format: 'float' })
  const reply = (await upstream.json({ path: '/embeddings', body, signal })) as {
    data?: { index?: number; embedding?: number[] }[]
    usage?: { prompt_tokens?: number }
  } | null
  const data = reply?.data ?? []
  const width = data[0]?.embedding?.length ?? 0
  if (!Array.isArray(data) || data.length !== texts.length || width === 0)
    throw upstream.failed(`${data.length} vectors for ${texts.length} texts`)
  const vectors = new Float32Array(texts.length * width)
  for (const [i, { index = i, embedding }] of data.entries()) {
    if (!Array.isArray(embedding) || embedding.length !== width || !(index >= 0 && index < texts.length))
      throw upstream.failed('vectors of different widths')
    vectors.set(embedding, index * width)
  }
  return { kind: 'vectors', vectors, width, tokens: reply?.usage?.prompt_tokens ?? 0 }
}
