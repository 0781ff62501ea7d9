import type { Problem } from '../base/problem.ts'
import type { Metrics } from '../bundle/manifest.ts'
import { Confusion, type LabelMetrics } from './metrics.ts'

/** Compares what a model gives with the truth, row by row. */
export interface Scorer {
  readonly rows: number
  /** The truth is a label's index, the indices of several labels, or a number; `given` is the row that the model gives. */
  add(truth: number | readonly number[], given: Float32Array): void
  metrics(): Metrics
  perLabel(): LabelMetrics[]
}

/** The metric by which weights are compared where none is asked for. */
export const chosenBy: Record<Problem, string> = {
  classification: 'accuracy',
  'multi-label': 'microF1',
  regression: 'rmse',
}

/** Metrics of which less is better. */
const errors = new Set(['loss', 'mae', 'rmse'])
export const betterOf = (metric: string) => (errors.has(metric) ? 'lower' : 'higher')

/** Metrics that a problem has. */
export const metricsOf: Record<Problem, readonly string[]> = {
  classification: ['accuracy', 'macroF1', 'loss'],
  'multi-label': ['microF1', 'macroF1', 'subsetAccuracy', 'loss'],
  regression: ['rmse', 'mae', 'r2', 'spearman', 'loss'],
}

/** A scorer; `thresholds` are those from which each of several labels counts as given, 0.5 if absent. */
export function scorerOf(problem: Problem, labels: readonly string[], thresholds?: readonly number[]): Scorer {
  if (problem === 'regression') return new Errors()
  if (problem === 'multi-label') return new Several(labels, thresholds ?? labels.map(() => 0.5))
  return new OneLabel(labels)
}

class OneLabel implements Scorer {
  readonly #confusion: Confusion
  #loss = 0
  constructor(labels: readonly string[]) {
    this.#confusion = new Confusion(labels)
  }
  get rows(): number {
    return this.#confusion.rows
  }
  add(truth: number, given: Float32Array) {
    this.#confusion.add(truth, given.indexOf(Math.max(...given)))
    this.#loss -= Math.log(Math.max(given[truth], 1e-12))
  }
  metrics(): Metrics {
    return { ...this.#confusion.metrics(), loss: this.#loss / Math.max(1, this.rows) }
  }
  perLabel(): LabelMetrics[] {
    return this.#confusion.perLabel()
  }
}

/** Labels are counted each for itself; macro-F1 is the mean over those that occur in truth or answer. */
class Several implements Scorer {
  readonly #labels: readonly string[]
  readonly #thresholds: readonly number[]
  readonly #counts: { right: number; given: number; wanted: number }[]
  rows = 0
  #exact = 0
  #loss = 0

  constructor(labels: readonly string[], thresholds: readonly number[]) {
    this.#labels = labels
    this.#thresholds = thresholds
    this.#counts = labels.map(() => ({ right: 0, given: 0, wanted: 0 }))
  }

  add(truth: readonly number[], scores: Float32Array) {
    const wanted = new Set(truth)
    let exact = true
    this.#counts.forEach((count, label) => {
      const [is, said] = [wanted.has(label), scores[label] >= this.#thresholds[label]]
      if (is) count.wanted++
      if (said) count.given++
      if (is && said) count.right++
      if (is !== said) exact = false
      const p = Math.min(1 - 1e-7, Math.max(1e-7, scores[label]))
      this.#loss -= Math.log(is ? p : 1 - p) / this.#labels.length
    })
    if (exact) this.#exact++
    this.rows++
  }

  metrics(): Metrics {
    const sum = (key: 'right' | 'given' | 'wanted') => this.#counts.reduce((all, count) => all + count[key], 0)
    const seen = this.perLabel().filter(({ f1 }) => !Number.isNaN(f1))
    const all = sum('given') + sum('wanted')
    return {
      microF1: all ? (2 * sum('right')) / all : 0,
      macroF1: seen.length ? seen.reduce((total, { f1 }) => total + f1, 0) / seen.length : 0,
      subsetAccuracy: this.#exact / Math.max(1, this.rows),
      loss: this.#loss / Math.max(1, this.rows),
    }
  }

  perLabel(): LabelMetrics[] {
    return this.#counts.map(({ right, given, wanted }, i) => ({
      label: this.#labels[i],
      precision: given ? right / given : 0,
      recall: wanted ? right / wanted : 0,
      f1: given + wanted ? (2 * right) / (given + wanted) : Number.NaN,
      rows: wanted,
    }))
  }
}

class Errors implements Scorer {
  readonly #truth: number[] = []
  readonly #given: number[] = []
  get rows(): number {
    return this.#truth.length
  }
  add(truth: number, [value]: Float32Array) {
    this.#truth.push(truth)
    this.#given.push(value)
  }
  metrics(): Metrics {
    const n = Math.max(1, this.rows)
    const off = this.#truth.map((truth, i) => this.#given[i] - truth)
    const squares = off.reduce((sum, value) => sum + value * value, 0)
    const mean = this.#truth.reduce((a, b) => a + b, 0) / n
    const spread = this.#truth.reduce((sum, value) => sum + (value - mean) ** 2, 0)
    return {
      mae: off.reduce((sum, value) => sum + Math.abs(value), 0) / n,
      rmse: Math.sqrt(squares / n),
      r2: spread > 0 ? 1 - squares / spread : 0,
      spearman: correlation(ranks(this.#truth), ranks(this.#given)),
      loss: squares / n,
    }
  }
  perLabel(): LabelMetrics[] {
    return []
  }
}

/** Ranks from 1; equal values share the mean of theirs. */
function ranks(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b])
  const result = new Array<number>(values.length)
  for (let start = 0; start < order.length; ) {
    let end = start
    while (end + 1 < order.length && values[order[end + 1]] === values[order[start]]) end++
    for (let i = start; i <= end; i++) result[order[i]] = (start + end) / 2 + 1
    start = end + 1
  }
  return result
}

/** Pearson's correlation; 0 where one side does not vary. */
function correlation(a: readonly number[], b: readonly number[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [ma, mb] = [mean(a), mean(b)]
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    ab += (a[i] - ma) * (b[i] - mb)
    aa += (a[i] - ma) ** 2
    bb += (b[i] - mb) ** 2
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0
}

/** Positives that a threshold of its own needs on the validation split. */
const LEAST_POSITIVES = 5

/**
 * The score from which each label counts as given: the one with the best F1 on the rows told, midway between two scores;
 * 0.5 for a label of few rows.
 */
export function bestThresholds(labels: number, rows: readonly { truth: readonly number[]; scores: Float32Array }[]) {
  return Array.from({ length: labels }, (_, label) => {
    const positives = rows.filter(({ truth }) => truth.includes(label)).length
    if (positives < LEAST_POSITIVES) return 0.5
    const sorted = rows.toSorted((a, b) => b.scores[label] - a.scores[label])
    let [right, best, threshold] = [0, -1, 0.5]
    sorted.forEach(({ truth, scores }, i) => {
      if (truth.includes(label)) right++
      const next = sorted[i + 1]?.scores[label] ?? 0
      if (next === scores[label]) return
      const f1 = (2 * right) / (i + 1 + positives)
      if (f1 > best) [best, threshold] = [f1, (scores[label] + next) / 2]
    })
    return Number(threshold.toFixed(4))
  })
}
