import { type Counting, type Counts, measuredCounting, readCounting, textCounting } from './counting.ts'
import type { Observed, Read } from './features.ts'
import type { Measured } from './measures.ts'
import type { Reference } from './reference.ts'

/** Rows in a window: distances are taken, and judged, of this many requests. */
export const WINDOW = 250

/** A window of requests: counts, and how many were more confident than the reference's threshold, where it has one. */
export interface Window {
  rows: number
  counts: Counts
  certain?: number
}

/** Gathers windows of requests for one version. */
export class Sketch<Row> {
  readonly #counting: Counting<Row>
  readonly #threshold: number | undefined
  #window: Window

  private constructor(counting: Counting<Row>, threshold: number | undefined) {
    this.#counting = counting
    this.#threshold = threshold
    this.#window = this.#empty()
  }

  static ofTexts({ confidence }: Pick<Reference, 'confidence'>): Sketch<Observed> {
    return new Sketch(textCounting, confidence)
  }

  static ofRead({ counts }: Pick<Reference, 'counts'>): Sketch<Read> {
    return new Sketch(readCounting(Object.keys(counts)), undefined)
  }

  static ofMeasures({ edges = {}, counts, confidence }: Reference): Sketch<Measured> {
    return new Sketch(measuredCounting(edges, counts.label !== undefined), confidence)
  }

  /** Counts a row; returns the window when it is full, and begins the next. */
  add(row: Row): Window | undefined {
    const window = this.#window
    const confidence = this.#counting.count(window.counts, row)
    if (confidence !== undefined && confidence >= (this.#threshold ?? Number.POSITIVE_INFINITY)) window.certain!++
    if (++window.rows < WINDOW) return undefined
    this.#window = this.#empty()
    return window
  }

  #empty(): Window {
    return { rows: 0, counts: this.#counting.noCounts(), ...(this.#threshold !== undefined && { certain: 0 }) }
  }
}
