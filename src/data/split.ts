import { fail } from '../base/errors.ts'
import { random, shuffle } from '../base/random.ts'

export type Part = 'train' | 'validation' | 'test'

/** What decides which rows are held out: each label in proportion, whole groups, or the latest rows. */
export type SplitBy = 'label' | 'group' | 'time'

export interface SplitOptions {
  validation: number
  test: number
  seed: number
  /** By groups where rows have them, otherwise by label. */
  by?: SplitBy
}

/** What splitting needs to know of a row; rows of one group have the same name or number of it. */
export interface SplitRow {
  label: number
  group?: string | number
  time?: number
}

/** Rows as an array has them, or as they are made of columns when one is asked for. */
export interface RowList {
  readonly length: number
  at(row: number): SplitRow | undefined
}

/** Some of the rows, in the order of their numbers. */
const among = (rows: RowList, which: ArrayLike<number>): RowList => ({
  length: which.length,
  at: (row) => rows.at(which[row]),
})

const rowAt = (rows: RowList, row: number) => rows.at(row)!

/** Numbers of the rows that `wanted` chooses. */
function numbers({ length }: RowList, wanted: (row: number) => boolean = () => true): number[] {
  const found: number[] = []
  for (let row = 0; row < length; row++) if (wanted(row)) found.push(row)
  return found
}

function has(rows: RowList, what: 'group' | 'time'): boolean {
  for (let row = 0; row < rows.length; row++) if (rowAt(rows, row)[what] !== undefined) return true
  return false
}

const allTrain = ({ length }: RowList) => new Array<Part>(length).fill('train')

/**
 * Assigns rows to parts, the same on every machine for a seed: whole groups go to one part; by time, the oldest rows
 * train, later ones validate and the latest test; otherwise each label is divided in the same proportions, and a label of
 * at least three rows is in every part asked for. Throws SPLIT_IMPOSSIBLE.
 */
export function splitRows(rows: RowList, options: SplitOptions): Part[] {
  const by = splitBy(rows, options.by)
  if (by === 'group') return byGroup(rows, options)
  if (by === 'time') return byTime(rows, options)
  return byLabel(rows, options)
}

/** The way rows are split; throws SPLIT_IMPOSSIBLE where they lack what it needs. */
export function splitBy(rows: RowList, asked: SplitBy | undefined): SplitBy {
  const by = asked ?? (has(rows, 'group') ? 'group' : 'label')
  if (by === 'group' && !has(rows, 'group'))
    throw fail('SPLIT_IMPOSSIBLE', { reason: 'no group is known to split by: name its column with --group' })
  if (by === 'time' && !has(rows, 'time'))
    throw fail('SPLIT_IMPOSSIBLE', { reason: 'no time is known to split by: name its column with --time' })
  return by
}

function byGroup(rows: RowList, { validation, test, seed }: SplitOptions): Part[] {
  const { of, sizes } = groupsOf(rows)
  if (sizes.length < 3) {
    throw fail('SPLIT_IMPOSSIBLE', {
      reason: `${sizes.length} groups cannot be divided into training, validation and test`,
    })
  }
  const wanted = { validation: validation * rows.length, test: test * rows.length }
  const taken = { validation: 0, test: 0 }
  const partOf: Part[] = sizes.map(() => 'train')
  for (const group of shuffle([...sizes.keys()], random(seed))) {
    const part = (['test', 'validation'] as const).find(
      (part) => wanted[part] > 0 && (taken[part] === 0 || taken[part] + sizes[group] / 2 <= wanted[part]),
    )
    if (!part) continue
    taken[part] += sizes[group]
    partOf[group] = part
  }
  return Array.from(of, (group) => partOf[group])
}

/** The number of each row's group, in the order in which groups occur, and how many rows they have; all without one are one. */
function groupsOf(rows: RowList): { of: Int32Array; sizes: number[] } {
  const of = new Int32Array(rows.length)
  const sizes: number[] = []
  const known = new Map<string | number | undefined, number>()
  for (let row = 0; row < rows.length; row++) {
    const name = rowAt(rows, row).group
    const group = known.get(name) ?? sizes.length
    known.set(name, group)
    of[row] = group
    sizes[group] = (sizes[group] ?? 0) + 1
  }
  return { of, sizes }
}

/** Rows of the same moment stay together. */
function byTime(rows: RowList, { validation, test }: SplitOptions): Part[] {
  const order = inTime(rows)
  const border = (share: number) => {
    let at = Math.round((1 - share) * order.length)
    while (at > 0 && at < order.length && timeAt(rows, order[at]) === timeAt(rows, order[at - 1])) at--
    return at
  }
  const [toValidate, toTest] = [border(validation + test), border(test)]
  if (toValidate === 0 || (validation > 0 && toValidate === toTest) || (test > 0 && toTest === order.length)) {
    throw fail('SPLIT_IMPOSSIBLE', { reason: 'too few rows differ in time to hold the latest out' })
  }
  const parts = allTrain(rows)
  order.forEach((i, at) => {
    if (at >= toTest) parts[i] = 'test'
    else if (at >= toValidate) parts[i] = 'validation'
  })
  return parts
}

const timeAt = (rows: RowList, row: number) => rowAt(rows, row).time ?? 0
const inTime = (rows: RowList) => numbers(rows).sort((a, b) => timeAt(rows, a) - timeAt(rows, b) || a - b)

function byLabel(rows: RowList, { validation, test, seed }: SplitOptions): Part[] {
  const parts = allTrain(rows)
  const next = random(seed)
  for (const members of eachLabel(rows)) {
    shuffle(members, next)
    const share = (fraction: number) =>
      fraction === 0 ? 0 : Math.max(members.length >= 3 ? 1 : 0, Math.round(fraction * members.length))
    const [held, kept] = [share(test), share(validation)]
    members.forEach((i, at) => {
      if (at < held) parts[i] = 'test'
      else if (at < held + kept) parts[i] = 'validation'
    })
  }
  return parts
}

/** Rows of each label, labels in order. */
function eachLabel(rows: RowList): number[][] {
  const labels = Map.groupBy(numbers(rows), (row) => rowAt(rows, row).label)
  return [...labels.keys()].sort((a, b) => a - b).map((label) => labels.get(label)!)
}

/**
 * Rows as `folds` parts of nearly equal size, by number: each label spread evenly, groups whole, or in order of time.
 * Throws SPLIT_IMPOSSIBLE.
 */
export function foldRows(
  rows: RowList,
  { folds, seed, by: asked }: { folds: number; seed: number; by?: SplitBy },
): Int32Array {
  const by = splitBy(rows, asked)
  if (rows.length < 3 * folds)
    throw fail('SPLIT_IMPOSSIBLE', { reason: `${rows.length} rows are too few for ${folds} folds` })
  const fold = new Int32Array(rows.length)
  const next = random(seed)
  if (by === 'time') {
    inTime(rows).forEach((i, at) => {
      fold[i] = Math.floor((at * folds) / rows.length)
    })
  } else if (by === 'group') {
    const { of, sizes: rowsOf } = groupsOf(rows)
    if (rowsOf.length < folds)
      throw fail('SPLIT_IMPOSSIBLE', { reason: `${rowsOf.length} groups cannot make ${folds} folds` })
    const sizes = new Array<number>(folds).fill(0)
    const foldOf = new Int32Array(rowsOf.length)
    const order = shuffle([...rowsOf.keys()], next)
    for (const group of order.sort((a, b) => rowsOf[b] - rowsOf[a])) {
      const least = sizes.indexOf(Math.min(...sizes))
      sizes[least] += rowsOf[group]
      foldOf[group] = least
    }
    return of.map((group) => foldOf[group])
  } else {
    let at = 0
    for (const members of eachLabel(rows)) for (const i of shuffle(members, next)) fold[i] = at++ % folds
  }
  return fold
}

/**
 * The parts when fold number `held` tests: of the others, a share validates. In order of time only what came before the
 * fold trains; what came after is in no part.
 */
export function foldParts(
  rows: RowList,
  fold: Int32Array,
  held: number,
  options: Omit<SplitOptions, 'test'>,
): (Part | undefined)[] {
  const by = splitBy(rows, options.by)
  const others = numbers(rows, (i) => (by === 'time' ? fold[i] < held : fold[i] !== held))
  const parts: (Part | undefined)[] = Array.from(fold, (one) => (one === held ? 'test' : undefined))
  splitRows(among(rows, others), { ...options, by, test: 0 }).forEach((part, at) => {
    parts[others[at]] = part
  })
  return parts
}
