import { fail } from '../base/errors.ts'
import { random, shuffle } from '../base/random.ts'

export type Part = 'train' | 'validation' | 'test'

export interface SplitOptions {
  validation: number
  test: number
  seed: number
}

/**
 * Assigns rows to parts, the same on every machine for a seed. With groups, whole groups go to one part; otherwise
 * each label is divided in the same proportions, and a label of at least three rows is in every part asked for.
 */
export function splitRows(
  rows: readonly { label: number; group?: string }[],
  { validation, test, seed }: SplitOptions,
): Part[] {
  const parts: Part[] = rows.map(() => 'train')
  const next = random(seed)
  if (rows.some(({ group }) => group !== undefined)) {
    const groups = Map.groupBy(rows.keys(), (i) => rows[i].group ?? '')
    if (groups.size < 3) {
      throw fail('SPLIT_IMPOSSIBLE', {
        reason: `${groups.size} groups cannot be divided into training, validation and test`,
      })
    }
    const wanted = { validation: validation * rows.length, test: test * rows.length }
    const taken = { validation: 0, test: 0 }
    for (const name of shuffle([...groups.keys()].sort(), next)) {
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
  const labels = Map.groupBy(rows.keys(), (i) => rows[i].label)
  for (const label of [...labels.keys()].sort((a, b) => a - b)) {
    const members = shuffle(labels.get(label)!, next)
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
