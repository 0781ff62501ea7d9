import { fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import { contentKey, keyOf, NearDuplicates, noRemovals, type Reason, type Removals, recordRemoval } from './clean.ts'
import { RowGatherer, rowsThatFit } from './clean-rows.ts'
import type { Dataset, Row } from './dataset.ts'
import { RowKeys } from './keys.ts'
import { Targets } from './targets.ts'
import { mainScript, normalise } from './text.ts'

/** Rows whose scripts are looked at. */
const SCRIPT_SAMPLE = 5000

/** Decides row by row what is kept. Rows of a file to be held out come first. */
export class Collector {
  read = 0
  readonly rows: RowGatherer
  readonly removals: Removals = noRemovals()
  readonly scripts = new Map<string, number>()
  readonly #characters: number
  readonly #dropUnlabelled: boolean
  readonly #keepLeakage: boolean
  readonly #excluded: ReadonlySet<bigint>
  readonly #targets: Targets
  readonly #seen = new RowKeys()
  readonly #near = new NearDuplicates()

  /** Keeps up to `characters` UTF-16 units of a text, and up to `most` rows: by default as many as memory is free for. */
  constructor(options: {
    characters: number
    dropUnlabelled: boolean
    keepLeakage: boolean
    problem: Problem
    exclude: readonly string[]
    most?: number
  }) {
    this.rows = new RowGatherer(options.most ?? rowsThatFit())
    this.#excluded = new Set(options.exclude.map(contentKey))
    this.#keepLeakage = options.keepLeakage
    this.#characters = options.characters
    this.#dropUnlabelled = options.dropUnlabelled
    this.#targets = new Targets(options.problem)
  }

  get nearChecked(): boolean {
    return !this.#near.full
  }

  /** The text to keep, or undefined when the row is dropped at once; throws LABEL_MISSING, DATA_MALFORMED or DATA_TOO_LARGE. */
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
    const same = this.#seen.get(key)
    const exact = same !== undefined
    if (given) {
      if (!this.#keepLeakage) this.#near.findOrAdd(text, index)
    } else {
      const twin = same ?? this.#near.findOrAdd(text, index)
      if (twin !== undefined && this.#isRepeated(row, target, twin, exact)) return undefined
    }
    if (!exact && !(given && this.#keepLeakage)) this.#seen.add(key, index)
    if (index < SCRIPT_SAMPLE) {
      const script = mainScript(text)
      this.scripts.set(script, (this.scripts.get(script) ?? 0) + 1)
    }
    const { group, time } = row
    const where = { ...(group !== undefined && { group: keyOf(group) }), ...(time !== undefined && { time }) }
    this.rows.add(dataset.source, { target, given, ...where })
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
   * Labels and sets of them in their final order, and how the rows' targets are turned to it; throws DATA_EMPTY, or
   * LABEL_UNKNOWN for a label that is not among those known.
   */
  finish(source: string, known?: readonly string[]) {
    if (this.rows.kept === 0) throw fail('DATA_EMPTY', { source })
    return this.#targets.finish(source, known)
  }

  /** Whether a row must go because of an earlier one with the same or nearly the same text; counts why. */
  #isRepeated(row: Row, target: number, other: number, exact: boolean): boolean {
    const { rows } = this
    const repeated = exact ? 'duplicate' : 'nearDuplicate'
    if (rows.isGiven(other)) this.#drop('leakage', row)
    // numbers given to one text may differ by judgement: the first one stands
    else if (rows.target(other) === target || (exact && this.#targets.problem === 'regression'))
      this.#drop(repeated, row)
    else if (exact) {
      // the same text under two labels: neither can be trusted
      if (!rows.isRemoved(other)) {
        rows.remove(other)
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
