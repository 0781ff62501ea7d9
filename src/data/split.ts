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

/** What splitting needs to know of a row. */
export interface SplitRow {
  label: number
  group?: string
  time?: number
}

/**
 * Assigns rows to parts, the same on every machine for a seed: whole groups go to one part; by time, the oldest rows
 * train, later ones validate and the latest test; otherwise each label is divided in the same proportions, and a label of
 * at least three rows is in every part asked for. Throws SPLIT_IMPOSSIBLE.
 */
export function splitRows(rows: readonly SplitRow[], options: SplitOptions): Part[] {
  const by = splitBy(rows, options.by)
  if (by === 'group') return byGroup(rows, options)
  if (by === 'time') return byTime(rows, options)
  return byLabel(rows, options)
}

/** The way rows are split; throws SPLIT_IMPOSSIBLE where they lack what it needs. */
export function splitBy(rows: readonly SplitRow[], asked: SplitBy | undefined): SplitBy {
  const by = asked ?? (rows.some(({ group }) => group !== undefined) ? 'group' : 'label')
  if (by === 'group' && !rows.some(({ group }) => group !== undefined))
    throw fail('SPLIT_IMPOSSIBLE', { reason: 'no group is known to split by: name its column with --group' })
  if (by === 'time' && !rows.some(({ time }) => time !== undefined))
    throw fail('SPLIT_IMPOSSIBLE', { reason: 'no time is known to split by: name its column with --time' })
  return by
}

function byGroup(rows: readonly SplitRow[], { validation, test, seed }: SplitOptions): Part[] {
  const parts: Part[] = rows.map(() => 'train')
  const groups = Map.groupBy(rows.keys(), (i) => rows[i].group ?? '')
  if (groups.size < 3) {
    throw fail('SPLIT_IMPOSSIBLE', {
      reason: `${groups.size} groups cannot be divided into training, validation and test`,
    })
  }
  const wanted = { validation: validation * rows.length, test: test * rows.length }
  const taken = { validation: 0, test: 0 }
  for (const name of shuffle([...groups.keys()].sort(), random(seed))) {
    const members = groups.get(name)!
    const part = (['test', 'validation'] as const).find(
      (part) => wanted[part] > 0 && (taken[part] === 0 || taken[part] + members.length / 2 <= wanted[part]),
    )
    if (!part) continue
    taken[part] += members.length
    for (const i of members) parts[i] = part
  }
  return parts
}

/** Rows of the same moment stay together. */
function byTime(rows: readonly SplitRow[], { validation, test }: SplitOptions): Part[] {
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
  const parts: Part[] = rows.map(() => 'train')
  order.forEach((i, at) => {
    if (at >= toTest) parts[i] = 'test'
    else if (at >= toValidate) parts[i] = 'validation'
  })
  return parts
}

const timeAt = (rows: readonly SplitRow[], i: number) => rows[i].time ?? 0
const inTime = (rows: readonly SplitRow[]) =>
  [...rows.keys()].sort((a, b) => timeAt(rows, a) - timeAt(rows, b) || a - b)

function byLabel(rows: readonly SplitRow[], { validation, test, seed }: SplitOptions): Part[] {
  const parts: Part[] = rows.map(() => 'train')
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
function eachLabel(rows: readonly SplitRow[]): number[][] {
  const labels = Map.groupBy(rows.keys(), (i) => rows[i].label)
  return [...labels.keys()].sort((a, b) => a - b).map((label) => labels.get(label)!)
}

/**
 * Rows as `folds` parts of nearly equal size, by number: each label spread evenly, groups whole, or in order of time.
 * Throws SPLIT_IMPOSSIBLE.
 */
export function foldRows(
  rows: readonly SplitRow[],
  { folds, seed, by: asked }: { folds: number; seed: number; by?: SplitBy },
): Int32Array {
  const by = splitBy(rows, asked)
  const fold = new Int32Array(rows.length)
  const next = random(seed)
  if (by === 'time') {
    inTime(rows).forEach((i, at) => {
      fold[i] = Math.floor((at * folds) / rows.length)
    })
  } else if (by === 'group') {
    const groups = Map.groupBy(rows.keys(), (i) => rows[i].group ?? '')
    if (groups.size < folds)
      throw fail('SPLIT_IMPOSSIBLE', { reason: `${groups.size} groups cannot make ${folds} folds` })
    const sizes = new Array<number>(folds).fill(0)
    const names = shuffle([...groups.keys()].sort(), next)
    for (const name of names.sort((a, b) => groups.get(b)!.length - groups.get(a)!.length)) {
      const least = sizes.indexOf(Math.min(...sizes))
      sizes[least] += groups.get(name)!.length
      for (const i of groups.get(name)!) fold[i] = least
    }
  } else {
    let at = 0
    for (const members of eachLabel(rows)) for (const i of shuffle(members, next)) fold[i] = at++ % folds
  }
  if (rows.length < 3 * folds)
    throw fail('SPLIT_IMPOSSIBLE', { reason: `${rows.length} rows are too few for ${folds} folds` })
  return fold
}

/**
 * The parts when fold number `held` tests: of the others, a share validates. In order of time only what came before the
 * fold trains; what came after is in no part.
 */
export function foldParts(
  rows: readonly SplitRow[],
  fold: Int32Array,
  held: number,
  options: Omit<SplitOptions, 'test'>,
): (Part | undefined)[] {
  const by = splitBy(rows, options.by)
  const others = [...rows.keys()].filter((i) => (by === 'time' ? fold[i] < held : fold[i] !== held))
  const parts: (Part | undefined)[] = rows.map((_, i) => (fold[i] === held ? 'test' : undefined))
  splitRows(
    others.map((i) => rows[i]),
    { ...options, by, test: 0 },
  ).forEach((part, at) => {
    parts[others[at]] = part
  })
  return parts
}
