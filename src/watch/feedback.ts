import { fail } from '../base/errors.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { LabelledText, Predictions, StoredPrediction } from '../store/predictions.ts'
import type { Alerts } from './alerts.ts'
import type { Log } from './log.ts'

/** Predictions that may wait for the database; beyond it they are left out. */
const WAITING_LIMIT = 10_000
const FLUSH_EVERY = 250
/** Labels from which on accuracy is judged, and how far it may fall. */
const ENOUGH = 50
const DROP = 0.05

export interface LiveAccuracy {
  rows: number
  accuracy?: number
}

/** Keeps what was answered, takes the right labels for it, and tells the accuracy that follows. */
export class Feedback {
  readonly #predictions: Predictions
  readonly #alerts: Alerts
  readonly #log: Log
  readonly #keep: ((text: string) => string) | undefined
  #waiting: StoredPrediction[] = []
  #flushing: Promise<void> = Promise.resolve()
  #clock = { ms: 0, iso: '' }
  readonly #timer: NodeJS.Timeout

  /** `keep` makes of a text what is kept of it; without it no text is kept. */
  constructor(predictions: Predictions, alerts: Alerts, log: Log, keep?: (text: string) => string) {
    this.#predictions = predictions
    this.#alerts = alerts
    this.#log = log
    this.#keep = keep
    this.#timer = setInterval(() => void this.#flush(), FLUSH_EVERY).unref()
  }

  /** Remembers the answer to a request of texts, row by row. */
  answered(
    requestId: string,
    { model, version, labels }: { model: string; version: number; labels: readonly string[] },
    probabilities: Float32Array,
    texts: readonly string[],
  ) {
    if (this.#waiting.length + texts.length > WAITING_LIMIT) return // more than can be written beside the requests
    const at = this.#now()
    const classes = labels.length
    for (const [row, text] of texts.entries()) {
      let best = 0
      for (let i = 1; i < classes; i++)
        if (probabilities[row * classes + i] > probabilities[row * classes + best]) best = i
      const score = probabilities[row * classes + best]
      const kept = this.#keep ? { text: this.#keep(text.slice(0, 20_000)) } : {}
      this.#waiting.push({ requestId, row, model, version, label: labels[best], score, at, ...kept })
    }
  }

  /** Attaches the right label to a row of a request; throws REQUEST_NOT_FOUND or LABEL_UNKNOWN. */
  async label(requestId: string, row: number, label: string, manifestOf: (ref: string) => Promise<Manifest>) {
    await this.#flush()
    const prediction = await this.#predictions.get(requestId, row)
    if (!prediction) throw fail('REQUEST_NOT_FOUND', { request: requestId.slice(0, 80), row })
    const { model, version } = prediction
    const { labels, metrics } = await manifestOf(`${model}@${version}`)
    if (!labels.includes(label)) {
      const known = labels.join(', ').slice(0, 300)
      throw fail('LABEL_UNKNOWN', { source: 'the feedback', label: label.slice(0, 80), labels: known })
    }
    await this.#predictions.label(prediction, label)
    const live = await this.accuracy(model, version)
    const level = (metrics.accuracy ?? 0) - DROP
    if (live.accuracy !== undefined && live.rows >= ENOUGH) {
      const told = `${(100 * live.accuracy).toFixed(1)} % of ${live.rows} labelled answers were right`
      const found = { message: `${model}@${version}: ${told}`, value: live.accuracy, level }
      await this.#alerts.set({ rule: 'accuracy', model, version }, live.accuracy < level ? found : undefined)
    }
    return { model, version, predicted: prediction.label, right: prediction.label === label, at: prediction.at }
  }

  async accuracy(model: string, version: number): Promise<LiveAccuracy> {
    const { rows, right } = await this.#predictions.accuracy(model, version)
    return { rows, ...(rows > 0 && { accuracy: right / rows }) }
  }

  /** Labelled rows whose texts were kept. */
  async texts(model: string, limit = 1_000_000): Promise<LabelledText[]> {
    return this.#predictions.texts(model, limit)
  }

  async close() {
    clearInterval(this.#timer)
    await this.#flush()
  }

  /** ISO 8601, made once for what is answered within a millisecond. */
  #now(): string {
    const ms = Date.now()
    if (ms !== this.#clock.ms) this.#clock = { ms, iso: new Date(ms).toISOString() }
    return this.#clock.iso
  }

  #flush(): Promise<void> {
    this.#flushing = this.#flushing.then(async () => {
      const batch = this.#waiting
      this.#waiting = []
      await this.#predictions.add(batch).catch((error: unknown) => this.#log.error('predictions.unsaved', error))
    })
    return this.#flushing
  }
}
