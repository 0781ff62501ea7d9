import { fail } from '../base/errors.ts'
import type { Problem } from '../base/problem.ts'
import type { EncodedSplit } from '../data/encoded.ts'
import type { BatchTensor } from './batch.ts'

/** What rows teach, as the truth that scores compare with and as the tensor that a loss takes. */
export interface Targets {
  truth(split: EncodedSplit, row: number): number | readonly number[]
  tensor(split: EncodedSplit, rows: Int32Array): BatchTensor
  /** Mean and deviation of the numbers learnt. */
  readonly scale?: { mean: number; deviation: number }
}

/** Targets of a prepared data set, whose splits hold a label's index, the index of a set of labels, or a number. */
export function targetsOf(
  problem: Problem,
  {
    labels,
    sets,
    profile,
  }: { labels: readonly string[]; sets: readonly number[][]; profile: { values?: Record<string, number> } },
): Targets {
  if (problem === 'classification') {
    return {
      truth: (split, row) => split.label(row),
      tensor: (split, rows) => ({
        type: 'int64',
        dims: [rows.length],
        data: BigInt64Array.from(rows, (row) => BigInt(split.label(row))),
      }),
    }
  }
  if (problem === 'multi-label') {
    return {
      truth: (split, row) => sets[split.label(row)],
      tensor(split, rows) {
        const data = new Float32Array(rows.length * labels.length)
        rows.forEach((row, r) => {
          for (const label of sets[split.label(row)]) data[r * labels.length + label] = 1
        })
        return { type: 'float32', dims: [rows.length, labels.length], data }
      },
    }
  }
  const { mean, deviation } = profile.values!
  const scale = { mean, deviation: deviation || 1 }
  return {
    scale,
    truth: (split, row) => split.label(row),
    tensor: (split, rows) => ({
      type: 'float32',
      dims: [rows.length, 1],
      data: Float32Array.from(rows, (row) => (split.label(row) - scale.mean) / scale.deviation),
    }),
  }
}

/**
 * What each class counts: nothing said, by `balanced` the rows of an average class over its own rows, or as given,
 * `label=weight, …`, 1 for the others. Throws OPTION_INVALID.
 */
export function classWeightsOf(
  asked: string,
  problem: Problem,
  labels: readonly string[],
  shares: Record<string, number>,
): Float32Array | undefined {
  const refuse = (reason: string) => fail('OPTION_INVALID', { option: 'classWeights', reason })
  if (asked === 'none') return undefined
  if (problem !== 'classification') throw refuse('only rows of one label each can be weighted by it')
  if (asked === 'balanced')
    return Float32Array.from(labels, (label) => 1 / (labels.length * Math.max(1e-6, shares[label])))
  const weights = new Float32Array(labels.length).fill(1)
  for (const part of asked.split(',')) {
    const at = part.lastIndexOf('=')
    const [label, weight] = [part.slice(0, at).trim(), Number(part.slice(at + 1))]
    const index = labels.indexOf(label)
    if (at < 0 || index < 0)
      throw refuse(`expected label=weight with one of ${labels.join(', ').slice(0, 200)}, got "${part.slice(0, 40)}"`)
    if (!(weight > 0 && weight < 1e6)) throw refuse(`expected a positive weight, got "${part.slice(0, 40)}"`)
    weights[index] = weight
  }
  return weights
}
