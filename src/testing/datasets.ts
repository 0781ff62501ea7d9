import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { AthanorError } from '../base/errors.ts'
import { openDataset, type ReadOptions, type Row } from '../data/dataset.ts'

/** A folder of the test file that imports this, removed when its tests have ended. */
export const folder = mkdtempSync(join(tmpdir(), 'athanor-data-test-'))
after(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
/** A file of a name and content, in a folder of its own. */
export function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, String(files++))
  mkdirSync(path)
  writeFileSync(join(path, name), content)
  return join(path, name)
}

/** All rows of a data set, which is closed then. */
export async function rowsOf(path: string, options?: ReadOptions): Promise<Row[]> {
  const dataset = await openDataset(path, options)
  const rows: Row[] = []
  for await (const row of dataset.rows()) rows.push(row)
  await dataset.close()
  return rows
}

/** Holds for an error of a code whose message or hint has a part. */
export const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)
