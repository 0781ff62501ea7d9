import type { GenerationEvent, GenerationRequest, TokenChance } from '../messages.ts'
import { TextStream } from '../text-stream.ts'
import type { Draw, GrammarState, Model } from './library.ts'
import type { Seat } from './seats.ts'
import type { Steps } from './steps.ts'

/** Tokens that a character may be spread over. */
const PIECES = 4
const LAST = -1
/** Tokens that count as lately written. */
const LATELY = 256

interface Work {
  readonly model: Model
  readonly seat: Seat
  readonly steps: Steps
  readonly tokens: readonly number[]
  /** Most tokens to write. */
  readonly limit: number
  readonly request: GenerationRequest
  readonly signal: AbortSignal
  /** What may be written, where that is not everything. */
  readonly state?: GrammarState
}

/** Writes one text on a sequence, which keeps what it read for the next. */
export async function* writing(work: Work): AsyncGenerator<GenerationEvent, undefined> {
  const { model, seat, tokens, limit, request, signal } = work
  const written: number[] = []
  const whole = new Characters(model, tokens)
  const stream = new TextStream(whole, request.stop)
  const usage = () => ({ promptTokens: tokens.length, completionTokens: written.length })
  // all but the last token may be there already; the last one is read again for what follows it
  await seat.sequence.adaptStateToTokens(tokens.slice(0, -1), false)
  const draw = drawOf(request, tokens, written)
  let finish: 'stop' | 'length' | 'cancelled' = 'stop'
  const drawn = request.logprobs === undefined ? plain(work, draw) : told(work, draw, request.logprobs)
  for await (const { token, ...chances } of drawn) {
    if (signal.aborted) break
    written.push(token)
    const { text, stopped } = stream.push(token)
    yield { type: 'token', token, text, ...chances }
    if (stopped) {
      yield { type: 'end', text: '', finish: 'stop', usage: usage() }
      return undefined
    }
    if (written.length >= limit) {
      finish = 'length'
      break
    }
  }
  if (signal.aborted) finish = 'cancelled'
  const left = stream.push(LAST)
  const rest = left.stopped ? { text: '', stopped: true } : stream.end()
  yield { type: 'end', text: left.text + rest.text, finish: rest.stopped ? 'stop' : finish, usage: usage() }
  return undefined
}

type Drawn = { token: number } & Partial<TokenChance> & { top?: TokenChance[] }

/**
 * Reads as much of the prompt as does not fit into a step with what others read, and begins the step for the rest, which is
 * returned; none when `signal` fires.
 */
async function unread({ seat, steps, tokens, signal }: Work): Promise<number[]> {
  const { sequence, number } = seat
  for (;;) {
    const left = tokens.slice(sequence.nextTokenIndex)
    const granted = await steps.turn(left.length)
    if (signal.aborted) return []
    if (granted === left.length) return left
    const piece = left.slice(0, granted)
    await sequence.evaluateWithoutGeneratingNewTokens(piece, { evaluationPriority: number }).finally(steps.over)
  }
}

async function* plain(work: Work, draw: Draw): AsyncGenerator<Pick<Drawn, 'token'>> {
  const { steps, state } = work
  const { sequence, number } = work.seat
  const options = { ...draw, evaluationPriority: number, ...(state && { grammarEvaluationState: state }) }
  const drawn = sequence.evaluate(await unread(work), options)
  try {
    for (;;) {
      const { value, done } = await drawn.next().finally(steps.over)
      if (done) return
      yield { token: value }
      await steps.turn(1)
    }
  } finally {
    await drawn.return()
  }
}

/** As `plain`, with log-probabilities of the model itself. */
async function* told(work: Work, draw: Draw, count: number): AsyncGenerator<Omit<Drawn, 'text'>> {
  const { model, steps } = work
  const { sequence, number } = work.seat
  let next = await unread(work)
  const logits = { filter: { tokens: [], includeTop: count, includeSelected: true, includeMax: true } }
  const generateNext = { token: true, logits, totalLogitWeight: true, options: draw }
  for (;;) {
    const asked = next.map((id, i) => (i < next.length - 1 ? id : ([id, { generateNext }] as const)))
    const results = await sequence.controlledEvaluate(asked, { evaluationPriority: number }).finally(steps.over)
    const { token, logits: found = new Map<number, number>(), totalLogitWeight = 1 } = results.at(-1)?.next ?? {}
    if (token === null || token === undefined || model.isEogToken(token)) return
    const total = Math.max(...found.values()) + Math.log(totalLogitWeight)
    const chance = (id: number): TokenChance => {
      const text = model.detokenize([id], true)
      return {
        token: id,
        text,
        bytes: [...Buffer.from(text)],
        logprob: (found.get(id) ?? Number.NEGATIVE_INFINITY) - total,
      }
    }
    const likeliest = [...found].sort((a, b) => b[1] - a[1]).slice(0, count)
    const { bytes, logprob } = chance(token)
    yield { token, bytes, logprob, top: likeliest.map(([id]) => chance(id)) }
    next = [token]
    await steps.turn(1)
  }
}

function drawOf(request: GenerationRequest, tokens: readonly number[], written: readonly number[]): Draw {
  const { temperature, topK, topP, seed, repetitionPenalty, presencePenalty, frequencyPenalty } = request
  const penalised = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0
  return {
    temperature,
    topK,
    topP,
    minP: 0,
    seed: seed ?? Math.floor(Math.random() * 2 ** 32),
    ...(penalised && {
      repeatPenalty: {
        punishTokens: () => (repetitionPenalty === 1 ? written : [...tokens, ...written]).slice(-LATELY),
        maxPunishTokens: LATELY,
        penalty: repetitionPenalty,
        presencePenalty,
        frequencyPenalty,
      },
    }),
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
