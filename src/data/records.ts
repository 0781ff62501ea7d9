import { stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { getHeapStatistics } from 'node:v8'
import { fail } from '../base/errors.ts'
import { readParquet } from './apart/apart.ts'
import { decodeFile, encodingOf } from './encoding.ts'
import { parsePackageSpec, savePackageFile } from './packages.ts'
import { linesOf, readJsonLines, readSeparated, type TableRow } from './tables.ts'

/** A data file for tasks that read more than a text and its label: where it is, and the name to show. */
export interface DataFile {
  readonly path: string
  readonly name: string
}

/** The file itself, or that of a package (`npm:<package>@<version>#path`), saved to a folder. */
export async function fileOf({ path, name }: DataFile, folder: string): Promise<DataFile> {
  if (!path.startsWith('npm:')) return { path, name }
  const spec = parsePackageSpec(path)
  if (spec.path === undefined)
    throw fail('UNSUPPORTED', { what: `${path} without a file`, instead: `Name the file in it: ${path}#path/to/file` })
  const saved = join(folder, spec.path.split('/').at(-1)!)
  await savePackageFile({ ...spec, path: spec.path }, saved)
  return { path: saved, name: spec.path }
}

/** Bytes that rows take in memory for each of the file, packed ones more. */
const HELD = { plain: 4, packed: 16 }

/**
 * Throws DATA_TOO_LARGE, before it is read, for a file whose rows are all to be in memory and would not fit into `free` bytes:
 * by default those that are free, in the machine and in JavaScript's heap.
 */
export async function assertHeld({ path, name }: DataFile, free = freeBytes()) {
  const { size } = await stat(path)
  const factor = extname(name).toLowerCase() === '.parquet' ? HELD.packed : HELD.plain
  if (size * factor <= free) return
  const mb = (bytes: number) => Math.floor(bytes / 1e6)
  throw fail('DATA_TOO_LARGE', {
    source: name,
    what: `it has ${mb(size)} MB, and about ${mb(free / factor)} MB would fit`,
  })
}

const freeBytes = () => Math.min(process.availableMemory(), getHeapStatistics().heap_size_limit)

/** Rows of a CSV, TSV, JSONL or Parquet file by their column names; throws DATA_FORMAT_UNKNOWN. */
export async function* tableRows({ path, name }: DataFile): AsyncGenerator<TableRow> {
  const ending = extname(name).toLowerCase()
  const file = { path, source: name, encoding: ending === '.parquet' ? 'binary' : await encodingOf(path, undefined) }
  if (ending === '.csv') yield* readSeparated(file, ',')
  else if (ending === '.tsv') yield* readSeparated(file, '\t')
  else if (ending === '.jsonl' || ending === '.ndjson') yield* readJsonLines(file)
  else if (ending === '.parquet') yield* readParquet(file)
  else throw fail('DATA_FORMAT_UNKNOWN', { source: name })
}

/** Lines of a text file, without their ends. */
export async function* textLines({ path, name }: DataFile): AsyncGenerator<string> {
  const pieces = decodeFile(path, await encodingOf(path, undefined), name)
  for await (const line of linesOf(pieces, name)) yield line.endsWith('\r') ? line.slice(0, -1) : line
}
