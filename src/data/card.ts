import type { Reason } from './clean.ts'
import { type DataReport, reasons } from './report.ts'

/**
 * The data card of a version as Markdown: where the rows came from, what was left out and why, how the rest was split, and
 * what they are like. Of rows that were removed only their beginning is shown.
 */
export function dataCard(report: DataReport, digest: string): string {
  const { splits, removed, labels } = report
  const kept = `${report.rowsKept} of ${report.rowsRead}`
  const lines = [
    `# Data card: ${inline(report.source)}`,
    '',
    `- source: ${inline(report.source)} (${report.format}, ${report.encoding})`,
    `- sha256: \`${digest}\``,
    `- columns: ${Object.entries(report.columns)
      .map(([role, name]) => `${role} = ${inline(String(name))}`)
      .join(', ')}`,
    ...(report.heldOut === undefined ? [] : [`- held-out file: ${inline(report.heldOut)}`]),
    `- rows kept: ${kept}`,
    `- split by ${report.splitBy}: ${splits.train} to train, ${splits.validation} to choose by, ${splits.test} to test`,
    '',
  ]
  if (report.values) lines.push('## Values', '', ...table(['', 'value'], entries(report.values)))
  if (Object.keys(labels).length > 0) {
    const whole = Object.values(labels).reduce((a, b) => a + b, 0)
    const share = (count: number) => `${((100 * count) / Math.max(1, whole)).toFixed(1)} %`
    const shown = Object.entries(labels).sort((a, b) => b[1] - a[1])
    lines.push(`## Labels (${shown.length})`, '')
    lines.push(
      ...table(
        ['label', 'rows', 'share'],
        shown.slice(0, 100).map(([label, count]) => [inline(label), String(count), share(count)]),
      ),
    )
    if (shown.length > 100) lines.splice(-1, 0, `… and ${shown.length - 100} more`)
  }
  lines.push('## Texts', '')
  const { lengths, characters } = report
  lines.push(
    ...table(
      ['', '5 %', 'half', '95 %', 'longest'],
      [
        ['tokens', lengths.p5, lengths.p50, lengths.p95, lengths.max].map(String),
        ['characters', characters.p5, characters.p50, characters.p95, characters.max].map(String),
      ],
    ),
  )
  const scripts = Object.entries(report.scripts).filter(([, part]) => part > 0)
  lines.push(
    ...table(
      ['script', 'share'],
      scripts.map(([name, part]) => [name, `${(100 * part).toFixed(1)} %`]),
    ),
  )
  lines.push(`## Removed (${report.rowsRead - report.rowsKept})`, '')
  const dropped = (Object.entries(removed.counts) as [Reason, number][]).filter(([, count]) => count > 0)
  if (dropped.length === 0) lines.push('Nothing.', '')
  else {
    const example = (reason: Reason) =>
      (removed.examples[reason] ?? []).map(({ line, text }) => `line ${line}: ${inline(text)}`).join('; ')
    lines.push(
      ...table(
        ['why', 'rows', 'for example (beginnings)'],
        dropped.map(([reason, count]) => [reasons[reason], String(count), example(reason)]),
      ),
    )
  }
  if (!report.nearDuplicatesChecked)
    lines.push('Near duplicates were not looked for among all rows: there are too many.')
  return `${lines.join('\n').trimEnd()}\n`
}

/** The data card as the files that go into a bundle: for people, and for programs. */
export const cardFiles = ({ report, digest }: { report: DataReport; digest: string }) => ({
  'data-card.md': dataCard(report, digest),
  'data-card.json': JSON.stringify({ digest, ...report }, null, 2),
})

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line), '']
}

const entries = (values: Record<string, number>) =>
  Object.entries(values).map(([name, value]) => [name, String(Number(value.toPrecision(6)))])

/** Data as text in Markdown: no markup, no line break, no cell border. */
const inline = (text: string) => text.replace(/[\r\n]+/g, ' ').replace(/[\\`*_[\]<>|#]/g, (mark) => `\\${mark}`)
