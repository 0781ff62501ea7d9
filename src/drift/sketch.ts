import { type Counts, count, noCounts, type Observed } from './features.ts'
import type { Reference } from './reference.ts'

/** Rows in a window: distances are taken, and judged, of this many requests. */
export const WINDOW = 250

/** A window of requests: counts, and how many were more confident than the reference's threshold. */
export interface Window {
  rows: number
  counts: Counts
  certain: number
}

/** Gathers windows of requests for one version. */
export class Sketch {
  readonly #threshold: number
  #window: Window = emptyWindow()

  constructor({ confidence }: Pick<Reference, 'confidence'>) {
    this.#threshold = confidence
  }

  /** Counts a text; returns the window when it is full, and begins the next. */
  add(row: Observed): Window | undefined {
    const window = this.#window
    if (count(window.counts, row) >= this.#threshold) window.certain++
    if (++window.rows < WINDOW) return undefined
    this.#window = emptyWindow()
    return window
  }
}

const emptyWindow = (): Window => ({ rows: 0, counts: noCounts(), certain: 0 })
