import { random } from '../base/random.ts'
import type { GenerationRequest } from './messages.ts'

type Settings = Pick<
  GenerationRequest,
  'temperature' | 'topP' | 'topK' | 'seed' | 'repetitionPenalty' | 'presencePenalty' | 'frequencyPenalty' | 'logprobs'
>

export interface Draw {
  token: number
  logprob?: number
  top?: { token: number; logprob: number }[]
}

/** Draws tokens of one text by its settings; equal seeds and scores give equal draws. */
export class Sampler {
  readonly #settings: Settings
  readonly #next: () => number
  /** Tokens seen (prompt included), and how often each was written. */
  readonly #seen = new Set<number>()
  readonly #written = new Map<number, number>()
  readonly #never: readonly number[]

  constructor(settings: Settings, prompt: readonly number[], never: readonly number[] = []) {
    this.#settings = settings
    this.#next = random(settings.seed ?? Math.floor(Math.random() * 2 ** 32))
    this.#never = never
    if (settings.repetitionPenalty !== 1) for (const token of prompt) this.#seen.add(token)
  }

  /**
   * Takes the scores (logits) of all tokens, which it overwrites, and draws among those that `allowed` marks with 1;
   * log-probabilities told are those of the model itself.
   */
  draw(logits: Float32Array, allowed?: Uint8Array): Draw {
    const { logprobs, temperature } = this.#settings
    const told = logprobs === undefined ? undefined : likeliest(logits, logprobs)
    const total = told && logSum(logits)
    const own = told && Float32Array.from(logits)
    this.#penalise(logits)
    if (allowed)
      for (let token = 0; token < logits.length; token++) if (!allowed[token]) logits[token] = Number.NEGATIVE_INFINITY
    const token = temperature === 0 ? argMax(logits) : this.#sample(logits)
    this.#seen.add(token)
    this.#written.set(token, (this.#written.get(token) ?? 0) + 1)
    if (!told) return { token }
    const logprob = (id: number) => own![id] - total!
    return { token, logprob: logprob(token), top: told.map((id) => ({ token: id, logprob: logprob(id) })) }
  }

  #penalise(logits: Float32Array) {
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = this.#settings
    if (repetitionPenalty !== 1) {
      // Keskar et al. 2019
      for (const token of this.#seen)
        logits[token] = logits[token] > 0 ? logits[token] / repetitionPenalty : logits[token] * repetitionPenalty
    }
    if (presencePenalty !== 0 || frequencyPenalty !== 0)
      for (const [token, times] of this.#written) logits[token] -= presencePenalty + times * frequencyPenalty
    for (const token of this.#never) logits[token] = Number.NEGATIVE_INFINITY
  }

  #sample(logits: Float32Array): number {
    const { temperature, topP, topK } = this.#settings
    let candidates: readonly number[] | undefined = topK > 0 ? likeliest(logits, topK) : undefined
    const high = logits[candidates?.[0] ?? argMax(logits)]
    const weight = (id: number) => Math.exp((logits[id] - high) / temperature)
    if (topP < 1) {
      candidates ??= nucleusCandidates(logits, high, temperature, topP)
      const all = topK > 0 ? candidates.reduce((sum, id) => sum + weight(id), 0) : weightSum(logits, high, temperature)
      let [sum, count] = [0, 0]
      while (count < candidates.length && (count === 0 || sum < topP * all)) sum += weight(candidates[count++])
      candidates = candidates.slice(0, count)
    }
    const count = candidates?.length ?? logits.length
    const at = (i: number) => candidates?.[i] ?? i
    let all = 0
    for (let i = 0; i < count; i++) all += weight(at(i))
    let left = this.#next() * all
    let last = at(0)
    for (let i = 0; i < count; i++) {
      const part = weight(at(i))
      if (part === 0) continue
      last = at(i)
      left -= part
      if (left < 0) break
    }
    return last
  }
}

function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}

function logSum(values: Float32Array): number {
  const high = values[argMax(values)]
  return high + Math.log(weightSum(values, high, 1))
}

function weightSum(values: Float32Array, high: number, temperature: number): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += Math.exp((values[i] - high) / temperature)
  return sum
}

/** The places of the `count` largest values, largest first; equal ones by place. */
function likeliest(values: Float32Array, count: number): number[] {
  const wanted = Math.min(count, values.length)
  const larger = (a: number, b: number) => values[b] - values[a] || a - b
  if (wanted > 256) return Array.from(values.keys()).sort(larger).slice(0, wanted)
  const best: number[] = []
  for (let i = 0; i < values.length && wanted > 0; i++) {
    if (best.length === wanted && values[i] <= values[best[wanted - 1]]) continue
    if (best.length === wanted) best.pop()
    let at = best.length
    while (at > 0 && values[best[at - 1]] < values[i]) at--
    best.splice(at, 0, i)
  }
  return best
}

/**
 * Tokens that can belong to the likeliest of joint probability `topP`, likeliest first: all others together have less
 * than 1 - topP, so each that has less than that divided by their number is out.
 */
function nucleusCandidates(logits: Float32Array, high: number, temperature: number, topP: number): number[] {
  const least = ((1 - topP) / logits.length) * weightSum(logits, high, temperature)
  const candidates: number[] = []
  for (let i = 0; i < logits.length; i++) if (Math.exp((logits[i] - high) / temperature) >= least) candidates.push(i)
  return candidates.sort((a, b) => logits[b] - logits[a] || a - b)
}
