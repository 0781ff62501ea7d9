import type { Manifest } from '../bundle/manifest.ts'
import type { NewRequest } from '../engine/engine.ts'
import type { EngineOutput } from '../engine/messages.ts'
import type { Version } from '../registry/registry.ts'

/** Requests of one shadow that may be under way; what comes beyond is left out. */
const LIMIT = 16
/** Pairs of different answers that are told apart. */
const PAIRS_LIMIT = 1000
/** Cosine of two vectors, and relative difference of two numbers, from which on they are taken for the same. */
const SAME_DIRECTION = 0.99
const SAME_NUMBER = 1e-3

/** What a shadow said beside what was answered. */
export interface ShadowReport {
  model: string
  version: number
  shadow: number
  rows: number
  disagreed: number
  /** Requests that it failed, and such as were left out because it was busy. */
  failed: number
  dropped: number
  /** The commonest pairs of different answers: the answer, the shadow's, how often. */
  pairs: { answer: string; shadow: string; count: number }[]
}

interface Tally extends Omit<ShadowReport, 'pairs'> {
  underWay: number
  pairs: Map<string, { answer: string; shadow: string; count: number }>
}

export interface Mirrored {
  version: Version
  to: Version
  request: NewRequest
  output: EngineOutput
  /** Told of each row whether the two differ. */
  told?: (differ: boolean) => void
}

/** Asks other versions what was just answered, beside the requests and never before them, and counts where they differ. */
export class Mirror {
  readonly #ask: (version: Version, request: NewRequest) => Promise<EngineOutput>
  readonly #tallies = new Map<string, Tally>()

  constructor(ask: (version: Version, request: NewRequest) => Promise<EngineOutput>) {
    this.#ask = ask
  }

  /** Takes a request if there is room; the answer to it has been given. */
  offer(mirrored: Mirrored) {
    const { version, to } = mirrored
    const key = `${version.name} ${version.version} ${to.version}`
    let tally = this.#tallies.get(key)
    if (!tally) {
      const none = { rows: 0, disagreed: 0, failed: 0, dropped: 0, underWay: 0, pairs: new Map() }
      tally = { model: version.name, version: version.version, shadow: to.version, ...none }
      this.#tallies.set(key, tally)
    }
    if (tally.underWay >= LIMIT) {
      tally.dropped++
      return
    }
    tally.underWay++
    void this.#compare(mirrored, tally)
  }

  reports(model: string): ShadowReport[] {
    return [...this.#tallies.values()]
      .filter((tally) => tally.model === model)
      .map(({ underWay: _, pairs, ...tally }) => ({
        ...tally,
        pairs: [...pairs.values()].sort((a, b) => b.count - a.count).slice(0, 20),
      }))
  }

  async #compare({ version, to, request, output, told }: Mirrored, tally: Tally) {
    try {
      const other = await this.#ask(to, request)
      for (const pair of compare(version.manifest, output, other)) {
        tally.rows++
        told?.(pair !== undefined)
        if (!pair) continue
        tally.disagreed++
        const key = JSON.stringify(pair)
        const known = tally.pairs.get(key)
        if (known) known.count++
        else if (tally.pairs.size < PAIRS_LIMIT) tally.pairs.set(key, { answer: pair[0], shadow: pair[1], count: 1 })
      }
    } catch {
      tally.failed++
    } finally {
      tally.underWay--
    }
  }
}

/** For each row the two answers where they differ: best labels, directions of vectors, words, stretches, or numbers. */
function compare(
  { labels }: Pick<Manifest, 'labels'>,
  a: EngineOutput,
  b: EngineOutput,
): (readonly [string, string] | undefined)[] {
  if ((a.kind === 'texts' || a.kind === 'images') && (b.kind === 'texts' || b.kind === 'images')) {
    const width = labels.length
    const best = (scores: Float32Array, row: number) => {
      let at = 0
      for (let i = 1; i < width; i++) if (scores[row * width + i] > scores[row * width + at]) at = i
      return width === 1 ? String(scores[row]) : labels[at]
    }
    return rows(a.probabilities.length / width, (row) => {
      const [x, y] = [best(a.probabilities, row), best(b.probabilities, row)]
      const alike = width === 1 ? near(Number(x), Number(y)) : x === y
      return alike ? undefined : ([x, y] as const)
    })
  }
  if (a.kind === 'vectors' && b.kind === 'vectors')
    return rows(a.vectors.length / a.width, (row) => {
      const cosine = a.width === b.width ? cosineOf(a.vectors, b.vectors, row, a.width) : 0
      return cosine >= SAME_DIRECTION ? undefined : (['a vector', 'another direction'] as const)
    })
  if (a.kind === 'tensors' && b.kind === 'tensors') {
    const differs = Object.entries(a.outputs).find(([name, { data }]) => {
      const other = b.outputs[name]?.data
      return (
        other?.length !== data.length ||
        Array.from<unknown>(data as ArrayLike<unknown>).some((value, i) => !alike(value, other[i]))
      )
    })
    return [differs && ([`output ${differs[0]}`, 'other values'] as const)]
  }
  const [x, y] = [said(a), said(b)]
  return x.map((text, row) => (text === y[row] ? undefined : ([text, y[row] ?? ''] as const)))
}

const rows = <T>(count: number, of: (row: number) => T) => Array.from({ length: count }, (_, row) => of(row))

const near = (a: number, b: number) => Math.abs(a - b) <= SAME_NUMBER * Math.max(1, Math.abs(a), Math.abs(b))
const alike = (a: unknown, b: unknown) => (typeof a === 'number' ? near(a, Number(b)) : a === b)

/** The likeliest words, or the labelled stretches, of each row as text. */
function said(output: EngineOutput): string[] {
  if (output.kind === 'fills') return output.fills.map((masks) => masks.map(([best]) => best?.token ?? '').join(' '))
  if (output.kind === 'entities')
    return output.entities.map((list) =>
      list
        .map(({ label, text }) => `${label}:${text}`)
        .join(' ')
        .slice(0, 200),
    )
  return []
}

function cosineOf(a: Float32Array, b: Float32Array, row: number, width: number): number {
  let [dot, x, y] = [0, 0, 0]
  for (let i = row * width; i < (row + 1) * width; i++) {
    dot += a[i] * b[i]
    x += a[i] * a[i]
    y += b[i] * b[i]
  }
  return x === 0 || y === 0 ? Number(x === y) : dot / Math.sqrt(x * y)
}
