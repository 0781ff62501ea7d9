import type { ImageContent } from '../../data/images/pixels.ts'
import type { Sample } from '../../data/samples.ts'

/** A row to measure or calibrate with: a text, or an image in its place. What has no label carries an empty one. */
export interface Example extends Sample {
  readonly image?: ImageContent
}

/** Rows that quality is judged by, and others of the training data to calibrate with and to choose by. */
export interface Examples {
  readonly heldOut: readonly Example[]
  readonly heldIn: readonly Example[]
}

/** Rows that are read of a given data set at most. */
export const ROWS = 5000
