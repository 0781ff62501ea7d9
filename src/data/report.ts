import type { Reason, Removals } from './clean.ts'
import type { Columns } from './columns.ts'
import type { ImageReport } from './images/prepare.ts'
import type { Part, SplitBy } from './split.ts'

/** What reading, cleaning and splitting did; saved with the version. */
export interface DataReport {
  source: string
  format: string
  encoding: string
  columns: Columns
  rowsRead: number
  rowsKept: number
  removed: Removals
  /** False when the data set was too large to compare all rows for near duplicates. */
  nearDuplicatesChecked: boolean
  labels: Record<string, number>
  splits: Record<Part, number>
  /** With a given file, it tests and the others are split by what stands before it. */
  splitBy: SplitBy | 'given file' | `${SplitBy}, given file` | `${number} folds by ${SplitBy}`
  /** Percentiles of tokens a row. */
  lengths: Record<string, number>
  /** Percentiles of UTF-16 units a row. */
  characters: Record<string, number>
  scripts: Record<string, number>
  /** Mean, deviation and percentiles of the numbers learnt, where it is numbers. */
  values?: Record<string, number>
  /** The file that was given to be held out. */
  heldOut?: string
}

/** Shares and percentiles of the training rows, against which requests can be compared. */
export interface Profile {
  rows: number
  lengths: Record<string, number>
  characters: Record<string, number>
  scripts: Record<string, number>
  labels: Record<string, number>
  values?: Record<string, number>
  tokens: number
  unknownRate: number
}

export const reasons: Record<Reason, string> = {
  empty: 'empty',
  unlabelled: 'without a label',
  duplicate: 'repeated',
  nearDuplicate: 'nearly repeated',
  conflictingLabel: 'same text, different labels',
  leakage: 'also in the held-out file',
}

/** The report as lines for people. */
export function describeReport(report: DataReport | ImageReport): string[] {
  const { rowsRead, rowsKept, removed, labels, splits } = report
  const names = Object.keys(labels)
  const images = 'kind' in report
  const lines = images
    ? imageLines(report)
    : [
        `${report.source}: ${report.format}, ${report.encoding}, text in "${report.columns.text}", ${labelled(report.columns)}`,
        `${rowsRead} rows read, ${rowsKept} kept; ${splits.train} to train, ${splits.validation} to validate, ${splits.test} to test (split by ${report.splitBy})`,
      ]
  for (const [reason, count] of Object.entries(removed.counts) as [Reason, number][]) {
    if (count > 0) lines.push(`  ${count} removed: ${reasons[reason]}`)
  }
  if (!images && !report.nearDuplicatesChecked)
    lines.push('  too many rows to look for near duplicates among all of them')
  if (!images && report.values) {
    const { mean, deviation, min, max } = report.values
    lines.push(`values from ${min} to ${max}, mean ${mean.toPrecision(4)} ± ${deviation.toPrecision(3)}`)
  }
  const shown = names.slice(0, 6).map((name) => `${name} ${labels[name]}`)
  if (names.length > 0) lines.push(`${names.length} classes: ${shown.join(', ')}${names.length > 6 ? ', …' : ''}`)
  if (!images) lines.push(`tokens a row: half under ${report.lengths.p50}, 95 % under ${report.lengths.p95}`)
  return lines
}

const labelled = ({ label, labels }: Columns) =>
  labels ? `labels in ${labels.map((name) => `"${name}"`).join(', ')}` : `label in "${label}"`

function imageLines({ source, format, rowsRead, rowsKept, splits, splitBy, size }: ImageReport): string[] {
  const shape = `${size.width} × ${size.height}, ${size.channels === 1 ? 'grey' : 'colour'}`
  return [
    `${source}: ${format}, brought to ${shape}`,
    `${rowsRead} images read, ${rowsKept} kept; ${splits.train} to train, ${splits.validation} to validate, ${splits.test} to test (split by ${splitBy})`,
  ]
}
