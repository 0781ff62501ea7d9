import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { snippets } from './lib/snippets.ts'
import type { Result } from './main.ts'

export const description =
  'a published encoder against the choice of a model from scratch on 2,000 labelled texts (ATHANOR_SNIPPETS: movieReviewSnippets_GroundTruth.txt of vaderSentiment 2.5 on PyPI; ATHANOR_MINILM: the folder of an encoder)'

const bin = fileURLToPath(new URL('../bin/athanor.js', import.meta.url))

/** Both learn from the same texts, a tenth of which chooses the epoch, and are measured once on others. */
export async function run(log: (line: string) => void): Promise<Result[]> {
  const { ATHANOR_SNIPPETS: source, ATHANOR_MINILM: encoder } = process.env
  if (!source || !encoder) throw new Error('set ATHANOR_SNIPPETS and ATHANOR_MINILM')
  const folder = mkdtempSync(join(tmpdir(), 'athanor-few-'))
  try {
    const rows = snippets(source)
    const write = (name: string, part: readonly string[]) => {
      writeFileSync(join(folder, name), ['text\tlabel', ...part].join('\n'))
      return join(folder, name)
    }
    const train = write('train.tsv', rows.first)
    const test = write('test.tsv', rows.test)
    const results: Result[] = []
    for (const [name, more] of [
      ['from scratch', []],
      ['encoder', ['--from', encoder]],
    ] as const) {
      const args = ['train', train, '--validation', test, '--split', 'label', '--name', 'few', ...more, '--json']
      const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args], {
        env: { ...process.env, ATHANOR_HOME: join(folder, 'home') },
      })
      const { family, metrics, seconds } = JSON.parse(stdout) as {
        family: string
        metrics: { accuracy: number; rows: number }
        seconds: number
      }
      log(`${name} (${family}): ${metrics.accuracy.toFixed(4)} on ${metrics.rows} texts, ${seconds.toFixed(0)} s`)
      results.push({ measure: `${name}, ${family}: accuracy`, value: metrics.accuracy, unit: '' })
      results.push({ measure: `${name}, ${family}: time`, value: seconds, unit: 's' })
    }
    return results
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
