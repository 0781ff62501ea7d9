import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { getHeapStatistics } from 'node:v8'
import { fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import { RowKeys, roomFor } from './keys.ts'
import type { RowList, SplitRow } from './split.ts'
import { strataOf } from './targets.ts'

/** What is known of rows that were kept, in columns: JavaScript's heap holds nothing of them. Those of the held-out file come first. */
export interface CleanRows extends RowList {
  /** How many are of the file given to be held out. */
  readonly given: number
  readonly targets: Float64Array
  /** By line of the spool: 1 where the row was removed after its text was written. */
  readonly removed: Uint8Array
}

/** Bytes a row takes at most while it is cleaned, split and encoded: in all, and in JavaScript's heap. */
const TAKEN = { memory: 160, heap: 100 }
/** Bytes that are taken whatever the rows: the process itself, near duplicates, vocabularies. */
const BASE = { memory: 300e6, heap: 200e6 }

/** Rows that can be cleaned in what memory is free. */
export function rowsThatFit(available = process.availableMemory(), heap = getHeapStatistics().heap_size_limit): number {
  const fitting = Math.min((available - BASE.memory) / TAKEN.memory, (heap - BASE.heap) / TAKEN.heap)
  return Math.max(100_000, Math.floor(fitting / 1e5) * 1e5)
}

/** Gathers what is known of rows as they are written to the spool, one line each. */
export class RowGatherer {
  length = 0
  #kept = 0
  readonly #most: number
  #given = 0
  #targets = new Float64Array(0)
  #removed = new Uint8Array(0)
  /** Numbers of groups, -1 for none; made with the first row that has one, as are times, NaN for none. */
  #groups: Int32Array | undefined
  #times: Float64Array | undefined
  readonly #groupNumbers = new RowKeys()
  #groupCount = 0

  /** Takes at most `most` rows. */
  constructor(most: number) {
    this.#most = most
  }

  /** Throws DATA_TOO_LARGE; rows given to be held out come first. */
  add(source: string, row: { target: number; given: boolean; group?: bigint; time?: number }) {
    const at = this.length
    if (at >= this.#most)
      throw fail('DATA_TOO_LARGE', { source, what: `${this.#most} rows would fit, and it has more` })
    this.#targets = roomFor(this.#targets, at + 1)
    this.#removed = roomFor(this.#removed, at + 1)
    this.#targets[at] = row.target
    if (row.given) this.#given++
    if (row.group !== undefined || this.#groups) {
      this.#groups = roomFor(this.#groups ?? new Int32Array(at).fill(-1), at + 1)
      this.#groups[at] = row.group === undefined ? -1 : this.#groupOf(row.group)
    }
    if (row.time !== undefined || this.#times) {
      this.#times = roomFor(this.#times ?? new Float64Array(at).fill(Number.NaN), at + 1)
      this.#times[at] = row.time ?? Number.NaN
    }
    this.length++
    this.#kept++
  }

  get kept() {
    return this.#kept
  }

  target = (row: number) => this.#targets[row]
  isGiven = (row: number) => row < this.#given
  isRemoved = (row: number) => this.#removed[row] === 1
  remove(row: number) {
    this.#removed[row] = 1
    this.#kept--
  }

  #groupOf(key: bigint): number {
    const known = this.#groupNumbers.get(key)
    if (known !== undefined) return known
    this.#groupNumbers.add(key, this.#groupCount)
    return this.#groupCount++
  }

  /** Saves the rows that were not removed to a folder, with targets as `final` makes them. */
  save(folder: string, problem: Problem, sets: readonly number[][], final: (target: number) => number) {
    const [targets, groups, times] = [this.#targets, this.#groups, this.#times]
    let [kept, given] = [0, 0]
    for (let row = 0; row < this.length; row++) {
      if (this.#removed[row]) continue
      targets[kept] = final(targets[row])
      if (groups) groups[kept] = groups[row]
      if (times) times[kept] = times[row]
      if (this.isGiven(row)) given++
      kept++
    }
    const strata = problem === 'classification' ? undefined : strataOf(problem, targets.subarray(0, kept), sets)
    const columns = { targets, groups, times, strata }
    for (const [name, column] of Object.entries(columns)) if (column) write(folder, name, column.subarray(0, kept))
    write(folder, 'removed', this.#removed.subarray(0, this.length))
    return { given }
  }
}

const pathOf = (folder: string, column: string) => join(folder, `rows.${column}`)

const write = (folder: string, column: string, { buffer, byteOffset, byteLength }: ArrayBufferView) =>
  writeFileSync(pathOf(folder, column), new Uint8Array(buffer, byteOffset, byteLength))

function read(folder: string, column: string): ArrayBuffer | undefined {
  const path = pathOf(folder, column)
  if (!existsSync(path)) return undefined
  const { buffer, byteOffset, byteLength } = readFileSync(path)
  return (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength)
}

/** The rows that were saved to a folder. */
export function openRows(folder: string, { given }: { given: number }): CleanRows {
  const [groups, strata] = ['groups', 'strata']
    .map((name) => read(folder, name))
    .map((all) => all && new Int32Array(all))
  const times = read(folder, 'times')
  const [targets, removed] = [new Float64Array(read(folder, 'targets')!), new Uint8Array(read(folder, 'removed')!)]
  const time = times && new Float64Array(times)
  return {
    length: targets.length,
    given,
    targets,
    removed,
    at(row): SplitRow {
      const found: SplitRow = { label: strata ? strata[row] : targets[row] }
      if (groups && groups[row] >= 0) found.group = groups[row]
      if (time && !Number.isNaN(time[row])) found.time = time[row]
      return found
    },
  }
}
