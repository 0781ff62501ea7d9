import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, extname, join } from 'node:path'
import { fail } from '../base/errors.ts'
import { readParquet } from './apart/apart.ts'
import { type Columns, chooseColumns } from './columns.ts'
import { detectEncoding, encodingOf } from './encoding.ts'
import { parsePackageSpec, savePackageFile, visitPackage } from './packages.ts'
import { recipes } from './recipes.ts'
import { rowReader } from './rows.ts'
import { readJsonLines, readSeparated, type TableFile, type TableRow } from './tables.ts'

/**
 * One example: `line` is where it stands in its file (1 is the header's), `group` what must not be split apart, `time` a
 * number that grows with time, `labels` all labels of a row that may have several.
 */
export interface Row {
  text: string
  label?: string
  labels?: string[]
  group?: string
  time?: number
  line: number
}

export interface ReadOptions {
  text?: string
  label?: string
  group?: string
  time?: string
  /** What stands between several labels in the label column. */
  separator?: string
  /** Columns of yes and no, each a label of its own. */
  labelColumns?: string[]
  encoding?: string
  format?: string
  /** Keep only rows of these labels. */
  labels?: readonly string[]
  /** The name to show for a file whose own name says nothing. */
  name?: string
}

/** A data set opened for reading; `rows` streams and can be called again. */
export interface Dataset {
  readonly source: string
  readonly format: string
  readonly encoding: string
  readonly columns: Columns
  rows(): AsyncIterable<Row>
  /** sha256 of the content. */
  digest(): Promise<string>
  close(): Promise<void>
}

const formats: Record<string, (file: TableFile) => AsyncIterable<TableRow>> = {
  csv: (file) => readSeparated(file, ','),
  tsv: (file) => readSeparated(file, '\t'),
  jsonl: readJsonLines,
  parquet: readParquet,
}
const extensions: Record<string, string> = {
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.tab': 'tsv',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.parquet': 'parquet',
}
const ARCHIVE = '.zip'

/**
 * Opens a CSV, TSV, JSONL or Parquet file, a zip file with one of them, a folder with one folder of text files per class,
 * or `npm:<package>@<version>[#path]`. Throws DATA_NOT_FOUND, DATA_FORMAT_UNKNOWN, ARCHIVE_INVALID, COLUMN_UNKNOWN or
 * COLUMN_AMBIGUOUS.
 */
export async function openDataset(source: string, options: ReadOptions = {}): Promise<Dataset> {
  const opened = source.startsWith('npm:') ? await openPackage(source, options) : await openPath(source, options)
  if (!options.labels) return opened
  const kept = new Set(options.labels)
  const wanted = ({ label, labels }: Row) =>
    (labels ?? (label === undefined ? [] : [label])).some((one) => kept.has(one))
  return { ...opened, rows: () => filtered(opened.rows(), wanted) }
}

async function* filtered(rows: AsyncIterable<Row>, keep: (row: Row) => boolean): AsyncGenerator<Row> {
  for await (const row of rows) if (keep(row)) yield row
}

async function openPath(path: string, options: ReadOptions): Promise<Dataset> {
  const source = options.name ?? basename(path)
  const found = await stat(path).catch(() => undefined)
  if (!found) throw fail('DATA_NOT_FOUND', { source })
  if (found.isDirectory()) return openFolder(path, source)
  if (found.size === 0) throw fail('DATA_EMPTY', { source })

  if (extname(source).toLowerCase() === ARCHIVE) return openArchive(path, source, options)
  const format = options.format ?? extensions[extname(source).toLowerCase()]
  const read = format === undefined ? undefined : formats[format]
  if (!read) throw fail('DATA_FORMAT_UNKNOWN', { source })
  const encoding = format === 'parquet' ? 'binary' : await encodingOf(path, options.encoding)
  const file = { path, source, encoding }
  const { text, label, group, time, labelColumns, separator } = options
  const given = { text, label, group, time, separator, labels: labelColumns && [...labelColumns] }
  const asked = Object.fromEntries(Object.entries(given).filter(([, name]) => name !== undefined)) as Partial<Columns>
  const columns = chooseColumns(await columnsOf(read(file), source), asked, source)
  const rowOf = rowReader(columns, source)
  return {
    source,
    format,
    encoding,
    columns,
    async *rows() {
      for await (const row of read(file)) yield rowOf(row)
    },
    digest: () => digestOf(path),
    close: async () => {},
  }
}

/** The table inside a zip file; its digest is that of the zip file. */
async function openArchive(path: string, source: string, options: ReadOptions): Promise<Dataset> {
  const { unpackTable } = await import('./zip.ts')
  const table = await unpackTable(path, source, Object.keys(extensions))
  try {
    const format = options.format ?? extensions[extname(table.path)]
    const opened = await openPath(table.path, { ...options, format, name: table.name })
    return { ...opened, source, digest: () => digestOf(path), close: table.close }
  } catch (error) {
    await table.close()
    throw error
  }
}

/** Column names from the first rows (JSON objects need not all have the same). */
async function columnsOf(rows: AsyncIterable<TableRow>, source: string): Promise<string[]> {
  const names = new Set<string>()
  let count = 0
  for await (const { values } of rows) {
    for (const name of Object.keys(values)) names.add(name)
    if (++count >= 50) break
  }
  if (count === 0) throw fail('DATA_EMPTY', { source })
  return [...names]
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

/** One folder a class, one text file a row. */
async function openFolder(path: string, source: string): Promise<Dataset> {
  const classes = (await readdir(path, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort()
  if (classes.length === 0) throw fail('DATA_EMPTY', { source })
  async function* rows(): AsyncGenerator<Row> {
    let line = 0
    for (const label of classes) {
      for (const file of (await readdir(join(path, label))).sort()) {
        const bytes = await readFile(join(path, label, file)).catch(() => undefined)
        if (!bytes) continue // a folder inside a class
        const encoding = detectEncoding(bytes.subarray(0, 1 << 18))
        let text: string
        try {
          text = new TextDecoder(encoding, { fatal: true }).decode(bytes)
        } catch {
          throw fail('DATA_UNDECODABLE', { source: `${source}/${label}/${file}`, line: 1, encoding })
        }
        yield { text, label, line: ++line }
      }
    }
  }
  return {
    source,
    format: 'folder',
    encoding: 'each file',
    columns: { text: 'file', label: 'folder' },
    rows,
    digest: () => digestRows(rows()),
    close: async () => {},
  }
}

async function openPackage(source: string, options: ReadOptions): Promise<Dataset> {
  const spec = parsePackageSpec(source)
  if (spec.path !== undefined) {
    const folder = await mkdtemp(join(tmpdir(), 'athanor-data-'))
    const close = () => rm(folder, { recursive: true, force: true })
    try {
      const file = join(folder, basename(spec.path))
      await savePackageFile({ ...spec, path: spec.path }, file)
      return { ...(await openPath(file, { ...options, name: basename(spec.path) })), source, close }
    } catch (error) {
      await close()
      throw error
    }
  }
  const recipe = recipes[spec.name]
  if (!recipe) {
    throw fail('UNSUPPORTED', {
      what: `${source} without a file`,
      instead: `Name the file in it: ${source}#path/to/file.csv`,
    })
  }
  const rows: Row[] = []
  await visitPackage(spec, recipe.wanted, async (path, content) => {
    rows.push(...recipe.rows(path, content.toString('utf8')))
  })
  if (rows.length === 0) throw fail('DATA_EMPTY', { source })
  rows.forEach((row, i) => {
    row.line = i + 1
  })
  async function* all() {
    yield* rows
  }
  return {
    source,
    format: 'package',
    encoding: 'utf-8',
    columns: recipe.columns,
    rows: all,
    digest: () => digestRows(all()),
    close: async () => {},
  }
}

async function digestRows(rows: AsyncIterable<Row>): Promise<string> {
  const hash = createHash('sha256')
  for await (const { text, label, group } of rows) hash.update(JSON.stringify([text, label, group]))
  return hash.digest('hex')
}
