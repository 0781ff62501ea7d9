import type { Metrics } from '../bundle/manifest.ts'

export interface LabelMetrics {
  label: string
  precision: number
  recall: number
  f1: number
  rows: number
}

/** Counts truth against prediction, row by row, and tells accuracy and per-class precision, recall and F1. */
export class Confusion {
  readonly labels: readonly string[]
  readonly #counts: Int32Array // (truth, predicted)
  rows = 0

  constructor(labels: readonly string[]) {
    this.labels = labels
    this.#counts = new Int32Array(labels.length * labels.length)
  }

  add(truth: number, predicted: number) {
    this.#counts[truth * this.labels.length + predicted]++
    this.rows++
  }

  /** Accuracy, and the unweighted mean of F1 over the classes that occur in truth or prediction. */
  metrics(): Metrics {
    let correct = 0
    for (let i = 0; i < this.labels.length; i++) correct += this.#counts[i * this.labels.length + i]
    const seen = this.perLabel().filter(({ f1 }) => !Number.isNaN(f1))
    return {
      accuracy: this.rows ? correct / this.rows : 0,
      macroF1: seen.length ? seen.reduce((sum, { f1 }) => sum + f1, 0) / seen.length : 0,
    }
  }

  /** F1 is NaN for a class that is neither in truth nor predicted. */
  perLabel(): LabelMetrics[] {
    const n = this.labels.length
    return this.labels.map((label, i) => {
      const right = this.#counts[i * n + i]
      let rows = 0
      let predicted = 0
      for (let j = 0; j < n; j++) {
        rows += this.#counts[i * n + j]
        predicted += this.#counts[j * n + i]
      }
      return {
        label,
        precision: predicted ? right / predicted : 0,
        recall: rows ? right / rows : 0,
        f1: rows + predicted ? (2 * right) / (rows + predicted) : Number.NaN,
        rows,
      }
    })
  }
}
