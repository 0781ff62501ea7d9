import { createWriteStream, type WriteStream } from 'node:fs'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { random, shuffle } from '../base/random.ts'
import type { Part } from './split.ts'

/** Rows kept in the bundle: held-out ones to measure refined models and drift with, held-in ones to calibrate with. */
export const sampleFiles = { heldOut: 'heldout.jsonl', heldIn: 'heldin.jsonl' } as const

/** A row of a sample. */
export interface Sample {
  text: string
  label: string
}

/** Which rows of `parts` belong to a sample of at most `limit` rows of one part: the same for a seed on every machine. */
export function sampleOf(parts: readonly (Part | undefined)[], part: Part, limit: number, seed: number): Set<number> {
  const rows = [...parts.keys()].filter((row) => parts[row] === part)
  return new Set(rows.length <= limit ? rows : shuffle(rows, random(seed)).slice(0, limit))
}

/** Writes rows of text and label as lines of JSON, in the order they come. */
export class SampleWriter {
  readonly #out: WriteStream

  constructor(folder: string, name: string) {
    this.#out = createWriteStream(join(folder, name))
  }

  add(row: Sample) {
    this.#out.write(`${JSON.stringify({ text: row.text, label: row.label })}\n`)
  }

  async close() {
    this.#out.end()
    await finished(this.#out)
  }
}

/** Rows of a sample file's content. */
export const readSamples = (content: string): Sample[] =>
  content.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Sample]))
