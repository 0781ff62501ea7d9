import { fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import { contentKey, NearDuplicates, noRemovals, type Reason, type Removals, recordRemoval } from './clean.ts'
import type { Dataset, Row } from './dataset.ts'
import { Targets } from './targets.ts'
import { mainScript, normalise } from './text.ts'

/** What is held in memory of a row whose text is on disk. */
export interface KeptRow {
  target: number
  group?: string
  time?: number
  /** From the file given to be held out. */
  given: boolean
  removed?: Reason
}

/** Rows whose scripts are looked at. */
const SCRIPT_SAMPLE = 5000

/** Decides row by row what is kept. Rows of a file to be held out come first. */
export class Collector {
  read = 0
  readonly rows: KeptRow[] = []
  readonly removals: Removals = noRemovals()
  readonly scripts = new Map<string, number>()
  readonly #characters: number
  readonly #dropUnlabelled: boolean
  readonly #keepLeakage: boolean
  readonly #excluded: ReadonlySet<bigint>
  readonly #targets: Targets
  readonly #seen = new Map<bigint, number>()
  readonly #near = new NearDuplicates()

  /** Keeps up to `characters` UTF-16 units of a text. */
  constructor(options: {
    characters: number
    dropUnlabelled: boolean
    keepLeakage: boolean
    problem: Problem
    exclude: readonly string[]
  }) {
    this.#excluded = new Set(options.exclude.map(contentKey))
    this.#keepLeakage = options.keepLeakage
    this.#characters = options.characters
    this.#dropUnlabelled = options.dropUnlabelled
    this.#targets = new Targets(options.problem)
  }

  get nearChecked(): boolean {
    return !this.#near.full
  }

  /** The text to keep, or undefined when the row is dropped at once; throws LABEL_MISSING or DATA_MALFORMED. */
  add(row: Row, given: boolean, dataset: Dataset): string | undefined {
    this.read++
    const target = this.#targets.of(row, dataset.source)
    if (target === undefined) {
      if (!this.#dropUnlabelled) throw fail('LABEL_MISSING', { source: dataset.source, line: row.line })
      return this.#drop('unlabelled', row)
    }
    const text = normalise(row.text.slice(0, this.#characters), { unicode: 'none', lowercase: false })
    if (text === '') return this.#drop('empty', row)
    const index = this.rows.length
    const key = contentKey(text)
    if (!given && this.#excluded.has(key)) return this.#drop('leakage', row)
    const exact = this.#seen.has(key)
    if (given) {
      if (!this.#keepLeakage) this.#near.findOrAdd(text, index)
    } else {
      const twin = this.#seen.get(key) ?? this.#near.findOrAdd(text, index)
      if (twin !== undefined && this.#isRepeated(row, target, this.rows[twin], exact)) return undefined
    }
    if (!exact && !(given && this.#keepLeakage)) this.#seen.set(key, index)
    if (index < SCRIPT_SAMPLE) {
      const script = mainScript(text)
      this.scripts.set(script, (this.scripts.get(script) ?? 0) + 1)
    }
    const { group, time } = row
    this.rows.push({ target, given, ...(group !== undefined && { group }), ...(time !== undefined && { time }) })
    return text
  }

  /** Words where one script is used throughout (Japanese mixes three); characters where texts differ in script. */
  suitableTokenizer(): 'word' | 'character' {
    const east = ['Han', 'Hiragana', 'Katakana'].reduce((sum, script) => sum + (this.scripts.get(script) ?? 0), 0)
    const counts = [...this.scripts.values()]
    const all = counts.reduce((a, b) => a + b, 0)
    return Math.max(east, ...counts) >= 0.8 * all ? 'word' : 'character'
  }

  /**
   * Labels and sets of them in their final order, to which the rows' targets are turned; throws DATA_EMPTY, or LABEL_UNKNOWN
   * for a label that is not among those known.
   */
  finish(source: string, known?: readonly string[]) {
    if (!this.rows.some((row) => !row.removed)) throw fail('DATA_EMPTY', { source })
    const { labels, sets, final } = this.#targets.finish(source, known)
    for (const row of this.rows) row.target = final(row.target)
    return { labels, sets }
  }

  /** Whether a row must go because of an earlier one with the same or nearly the same text; counts why. */
  #isRepeated(row: Row, target: number, other: KeptRow, exact: boolean): boolean {
    const repeated = exact ? 'duplicate' : 'nearDuplicate'
    if (other.given) this.#drop('leakage', row)
    // numbers given to one text may differ by judgement: the first one stands
    else if (other.target === target || (exact && this.#targets.problem === 'regression')) this.#drop(repeated, row)
    else if (exact) {
      // the same text under two labels: neither can be trusted
      if (!other.removed) {
        other.removed = 'conflictingLabel'
        this.removals.counts.conflictingLabel++
      }
      this.#drop('conflictingLabel', row)
    } else return false
    return true
  }

  #drop(reason: Reason, row: Row): undefined {
    recordRemoval(this.removals, reason, row.line, row.text)
    return undefined
  }
}
