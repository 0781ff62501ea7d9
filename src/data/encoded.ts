import { closeSync, fstatSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Part } from './split.ts'

/** A part of a data set as token ids; the ids stay on disk, so that data may exceed memory. */
export interface EncodedSplit {
  readonly rows: number
  label(row: number): number
  length(row: number): number
  ids(row: number): Int32Array
}

const WRITE_AT = 1 << 20

/** Writes rows of one part one after another: `<part>.ids`, and on `close` `<part>.index` with labels and ends. */
export class SplitWriter {
  readonly #base: string
  readonly #file: number
  readonly #labels: number[] = []
  readonly #ends: number[] = []
  #pending: Int32Array[] = []
  #pendingTokens = 0
  #total = 0

  constructor(folder: string, part: Part) {
    this.#base = join(folder, part)
    this.#file = openSync(`${this.#base}.ids`, 'w')
  }

  add(label: number, ids: Int32Array) {
    this.#pending.push(ids)
    this.#pendingTokens += ids.length
    this.#total += ids.length
    this.#labels.push(label)
    this.#ends.push(this.#total)
    if (this.#pendingTokens >= WRITE_AT) this.#flush()
  }

  close() {
    this.#flush()
    closeSync(this.#file)
    const index = Float64Array.from([...this.#labels, ...this.#ends])
    writeFileSync(`${this.#base}.index`, Buffer.from(index.buffer))
  }

  #flush() {
    for (const ids of this.#pending) writeSync(this.#file, Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength))
    this.#pending = []
    this.#pendingTokens = 0
  }
}

/** Opens what a SplitWriter wrote; undefined when there is no such part, or not all of it. */
export function openSplit(folder: string, part: Part): EncodedSplit | undefined {
  const base = join(folder, part)
  let raw: Buffer
  try {
    raw = readFileSync(`${base}.index`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  if (raw.length % 16 !== 0) return undefined
  const index = new Float64Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength))
  const rows = index.length / 2
  const start = (row: number) => (row === 0 ? 0 : index[rows + row - 1])
  const length = (row: number) => index[rows + row] - start(row)
  const file = openSync(`${base}.ids`, 'r')
  if (fstatSync(file).size !== 4 * start(rows)) {
    closeSync(file)
    return undefined
  }
  return {
    rows,
    label: (row) => index[row],
    length,
    ids(row) {
      const ids = new Int32Array(length(row))
      readSync(file, new Uint8Array(ids.buffer), 0, ids.byteLength, start(row) * 4)
      return ids
    },
  }
}

/** All tokens of a part as one run, whatever rows they were written in. */
export interface TokenRun {
  readonly length: number
  read(start: number, count: number): Int32Array
}

/** Opens what a SplitWriter wrote as one run of tokens; undefined when there is no such part. */
export function openRun(folder: string, part: Part): TokenRun | undefined {
  let file: number
  try {
    file = openSync(join(folder, `${part}.ids`), 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return {
    length: fstatSync(file).size / 4,
    read(start, count) {
      const ids = new Int32Array(count)
      const read = readSync(file, new Uint8Array(ids.buffer), 0, ids.byteLength, start * 4)
      return ids.subarray(0, read / 4)
    },
  }
}
