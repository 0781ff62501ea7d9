import { type Static, Type } from '../base/schema.ts'
import { RateEvidence, type SavedEvidence, ShareEvidence } from './evidence.ts'

const share = (description: string) => Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1, description })

/** How a candidate is judged; every field has a default. */
export const Policy = Type.Object(
  {
    automatic: Type.Boolean({ description: 'Promote or roll back by itself; otherwise only say what the test found' }),
    alpha: share('Probability of rolling back a candidate that is no worse'),
    beta: share('Probability of promoting one that is unbearably worse'),
    minimum: Type.Integer({ minimum: 1, maximum: 1e9, description: 'Requests of the candidate before it is promoted' }),
    unbearable: Type.Number({ minimum: 1.1, maximum: 100, description: 'How many times as often bad is too often' }),
    errors: share('Share of failed requests that is borne whatever the stable version does'),
    slow: share('Share of requests slower than the stable version’s p99 that is borne'),
    disagreement: Type.Optional(
      share('Share of answers that may differ from the stable version’s; not judged if absent'),
    ),
  },
  { additionalProperties: false },
)
export type Policy = Static<typeof Policy>

export const defaultPolicy: Policy = {
  automatic: true,
  alpha: 0.05,
  beta: 0.05,
  minimum: 200,
  unbearable: 2,
  errors: 0.01,
  slow: 0.03,
}

/** How one request ended; `key` is what its caller's requests have in common. */
export interface Outcome {
  ofCandidate: boolean
  failed: boolean
  ms: number
  key?: string
}

export type Respect = 'errors' | 'p99' | 'disagreement' | 'accuracy'
export interface Verdict {
  verdict: 'worse' | 'fine'
  detail: string
}

export interface SavedTrial {
  tests: Partial<Record<Respect, SavedEvidence>>
  latencies: readonly number[]
}

/** Latencies of the stable version by which slow is told, how many there must be, and how often that is told anew. */
const WINDOW = 1000
const ENOUGH = 100
const RENEW = 100
/** Keys that are remembered for a bad thing that befell them. */
const KEYS_LIMIT = 100_000

/**
 * What a candidate has shown beside the stable version. Slow is what is slower than the stable version's p99 as known before
 * the request, so that it is as rare for an equal candidate. Requests of one key go to one version and may fail together, so
 * a key's bad things count once.
 */
export class Trial {
  readonly policy: Policy
  readonly #errors: RateEvidence
  readonly #slow: RateEvidence
  readonly #accuracy: RateEvidence
  readonly #disagreement: ShareEvidence
  readonly #latencies: number[]
  readonly #counted = new Set<string>()
  #slowFrom = Number.POSITIVE_INFINITY
  #next = 0

  constructor(policy: Policy, saved?: SavedTrial) {
    this.policy = policy
    const { unbearable, errors, slow, disagreement = 0.5 } = policy
    const tests = saved?.tests ?? {}
    this.#errors = new RateEvidence(unbearable, errors, tests.errors)
    this.#slow = new RateEvidence(unbearable, slow, tests.p99)
    this.#accuracy = new RateEvidence(unbearable, 0.05, tests.accuracy)
    this.#disagreement = new ShareEvidence(disagreement, disagreement, tests.disagreement)
    this.#latencies = [...(saved?.latencies ?? [])]
    this.#renew()
  }

  /** Counts a request; `weight` is the share of requests that comes to the candidate. */
  add({ ofCandidate, failed, ms, key }: Outcome, weight: number) {
    this.#errors.add(ofCandidate, failed && this.#first('errors', key), weight)
    if (failed) return
    const slow = ms > this.#slowFrom
    if (this.#slowFrom !== Number.POSITIVE_INFINITY)
      this.#slow.add(ofCandidate, slow && this.#first('p99', key), weight)
    if (ofCandidate) return
    this.#latencies[this.#next++ % WINDOW] = ms
    if (this.#next % RENEW === 0) this.#renew()
  }

  /** Counts an answer of the candidate whose text the stable version was asked as well. */
  compared(disagreed: boolean) {
    this.#disagreement.add(disagreed)
  }

  /** Counts an answer whose right label has come. */
  labelled(ofCandidate: boolean, right: boolean, weight: number) {
    this.#accuracy.add(ofCandidate, !right, weight)
  }

  /** What can be said by now; undefined while it cannot be. */
  get verdict(): Verdict | undefined {
    const { alpha, beta, minimum, disagreement } = this.policy
    const judged: [Respect, RateEvidence | ShareEvidence][] = [
      ['errors', this.#errors],
      ['p99', this.#slow],
      ['accuracy', this.#accuracy],
    ]
    if (disagreement !== undefined) judged.push(['disagreement', this.#disagreement])
    const enough = Math.log(judged.length / alpha) // the chances of a false alarm in one respect add up
    for (const [respect, evidence] of judged)
      if (evidence.worse >= enough) return { verdict: 'worse', detail: `${respect}: ${told(evidence)}` }
    if (this.#errors.candidate.seen < minimum) return undefined
    const needed = judged.filter(([respect]) => respect !== 'accuracy') // labels come late or never
    if (needed.some(([, evidence]) => evidence.fine < Math.log(1 / beta))) return undefined
    return { verdict: 'fine', detail: needed.map(([respect, evidence]) => `${respect}: ${told(evidence)}`).join('; ') }
  }

  /** For each respect what was counted, and the evidence both ways as natural logarithms. */
  get report() {
    const line = (evidence: RateEvidence | ShareEvidence) => ({
      stable: 'stable' in evidence ? evidence.stable : undefined,
      candidate: 'candidate' in evidence ? evidence.candidate : evidence.count,
      worse: evidence.worse,
      fine: evidence.fine,
    })
    return {
      errors: line(this.#errors),
      p99: { ...line(this.#slow), ...(Number.isFinite(this.#slowFrom) && { slowFromMs: this.#slowFrom }) },
      disagreement: line(this.#disagreement),
      accuracy: line(this.#accuracy),
    }
  }

  toJSON(): SavedTrial {
    return {
      tests: {
        errors: this.#errors.toJSON(),
        p99: this.#slow.toJSON(),
        accuracy: this.#accuracy.toJSON(),
        disagreement: this.#disagreement.toJSON(),
      },
      latencies: this.#latencies,
    }
  }

  #renew() {
    if (this.#latencies.length < ENOUGH) return
    const sorted = this.#latencies.toSorted((a, b) => a - b)
    this.#slowFrom = sorted[Math.ceil(0.99 * sorted.length) - 1]
  }

  /** Whether this is the first bad thing of its kind that befalls a key. */
  #first(respect: Respect, key: string | undefined): boolean {
    if (key === undefined) return true
    const mark = `${respect} ${key}`
    if (this.#counted.has(mark) || this.#counted.size >= KEYS_LIMIT) return false
    this.#counted.add(mark)
    return true
  }
}

function told(evidence: RateEvidence | ShareEvidence): string {
  const of = ({ seen, bad }: { seen: number; bad: number }) => `${bad} of ${seen}`
  if ('count' in evidence) return of(evidence.count)
  return `${of(evidence.candidate)} against ${of(evidence.stable)} of the stable version`
}
