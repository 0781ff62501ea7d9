import type { Reason, Removals } from './clean.ts'
import type { Columns } from './columns.ts'
import type { ImageReport } from './images/prepare.ts'
import type { Part } from './split.ts'
import { mainScript } from './text.ts'

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
  splitBy: 'label' | 'group' | 'given file'
  /** Percentiles of tokens a row. */
  lengths: Record<string, number>
  scripts: Record<string, number>
}

/** Shares and percentiles of the training rows, against which requests can be compared. */
export interface Profile {
  rows: number
  lengths: Record<string, number>
  scripts: Record<string, number>
  labels: Record<string, number>
  tokens: number
  unknownRate: number
}

/** Gathers a profile row by row. */
export class Profiler {
  readonly #labels: readonly string[]
  readonly #labelCounts: number[]
  readonly #lengths: number[] = []
  readonly #scripts = new Map<string, number>()
  #tokens = 0
  #unknown = 0

  constructor(labels: readonly string[]) {
    this.#labels = labels
    this.#labelCounts = labels.map(() => 0)
  }

  add(text: string, label: number, ids: Int32Array) {
    this.#labelCounts[label]++
    this.#lengths.push(ids.length)
    const script = mainScript(text)
    this.#scripts.set(script, (this.#scripts.get(script) ?? 0) + 1)
    this.#tokens += ids.length
    for (const id of ids) if (id === 1) this.#unknown++
  }

  profile(): Profile {
    const rows = this.#lengths.length
    const sorted = Float64Array.from(this.#lengths).sort()
    const at = (q: number) => sorted[Math.min(rows - 1, Math.floor(q * rows))] ?? 0
    const share = (count: number) => Number((count / Math.max(1, rows)).toFixed(4))
    return {
      rows,
      lengths: { p5: at(0.05), p50: at(0.5), p95: at(0.95), max: at(1) },
      scripts: Object.fromEntries(
        [...this.#scripts].sort((a, b) => b[1] - a[1]).map(([name, count]) => [name, share(count)]),
      ),
      labels: Object.fromEntries(this.#labels.map((name, i) => [name, share(this.#labelCounts[i])])),
      tokens: this.#tokens,
      unknownRate: Number((this.#unknown / Math.max(1, this.#tokens)).toFixed(5)),
    }
  }
}

const words: Record<Reason, string> = {
  empty: 'empty',
  unlabelled: 'without a label',
  duplicate: 'repeated',
  nearDuplicate: 'nearly repeated',
  conflictingLabel: 'same text, different labels',
  leakage: 'also in the validation file',
}

/** The report as lines for people. */
export function describeReport(report: DataReport | ImageReport): string[] {
  const { rowsRead, rowsKept, removed, labels, splits } = report
  const names = Object.keys(labels)
  const images = 'kind' in report
  const lines = images
    ? imageLines(report)
    : [
        `${report.source}: ${report.format}, ${report.encoding}, text in "${report.columns.text}", label in "${report.columns.label}"`,
        `${rowsRead} rows read, ${rowsKept} kept; ${splits.train} to train, ${splits.validation} to validate, ${splits.test} to test (split by ${report.splitBy})`,
      ]
  for (const [reason, count] of Object.entries(removed.counts) as [Reason, number][]) {
    if (count > 0) lines.push(`  ${count} removed: ${words[reason]}`)
  }
  if (!images && !report.nearDuplicatesChecked)
    lines.push('  too many rows to look for near duplicates among all of them')
  const shown = names.slice(0, 6).map((name) => `${name} ${labels[name]}`)
  lines.push(`${names.length} classes: ${shown.join(', ')}${names.length > 6 ? ', …' : ''}`)
  if (!images) lines.push(`tokens a row: half under ${report.lengths.p50}, 95 % under ${report.lengths.p95}`)
  return lines
}

function imageLines({ source, format, rowsRead, rowsKept, splits, splitBy, size }: ImageReport): string[] {
  const shape = `${size.width} × ${size.height}, ${size.channels === 1 ? 'grey' : 'colour'}`
  return [
    `${source}: ${format}, brought to ${shape}`,
    `${rowsRead} images read, ${rowsKept} kept; ${splits.train} to train, ${splits.validation} to validate, ${splits.test} to test (split by ${splitBy})`,
  ]
}
