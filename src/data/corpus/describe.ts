import type { CorpusReport } from './prepare.ts'

/** Whether a data report is one of a corpus. */
export const isCorpusReport = (report: object): report is CorpusReport => 'charactersPerToken' in report

/** The report as lines for people. */
export function describeCorpus({ source, kind, documents, characters, parts, ...report }: CorpusReport): string[] {
  const count = new Intl.NumberFormat('en')
  const { train, validation, test } = parts
  const what = kind === 'chat' ? 'conversations' : documents === 1 ? 'text' : 'texts'
  return [
    `${source}: ${count.format(documents)} ${what}, ${count.format(characters)} characters`,
    `${count.format(train.tokens)} tokens to train, ${count.format(validation.tokens)} to validate, ${count.format(test.tokens)} to test (split by ${report.splitBy})`,
    `${count.format(report.vocabulary)} tokens known, ${report.charactersPerToken.toFixed(2)} characters a token`,
  ]
}
