import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import {
  asyncBufferFromFile,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet'
import { fail } from '../base/errors.ts'
import { asText, type TableFile, type TableRow } from './tables.ts'

/** Compressions beyond the library's own, snappy. */
const compressors: Compressors = {
  GZIP: (page, size) => gunzipSync(page, { maxOutputLength: size }),
  BROTLI: (page, size) => brotliDecompressSync(page, { maxOutputLength: size }),
  ZSTD: (page, size) => zstdDecompressSync(page, { maxOutputLength: size }),
}

/**
 * Rows of a Parquet file, one row group at a time and column after column: of columns read together, the library leaves
 * all failures but the first to the process, which ends by them. For a process that may be ended. Throws DATA_MALFORMED.
 */
export async function* parquetRows({ path, source }: TableFile): AsyncGenerator<TableRow> {
  const refuse = (reason: string, cause: unknown, line?: number) =>
    fail('DATA_MALFORMED', { source, reason, ...(line !== undefined && { line }) }, { cause })
  let file: Awaited<ReturnType<typeof asyncBufferFromFile>>
  let metadata: FileMetaData
  let columns: string[]
  try {
    file = await asyncBufferFromFile(path)
    metadata = await parquetMetadataAsync(file)
    columns = parquetSchema(metadata).children.map(({ element }) => element.name)
  } catch (error) {
    throw refuse('not a Parquet file', error)
  }
  let row = 0
  for (const group of metadata.row_groups) {
    const rowEnd = row + Number(group.num_rows)
    const rows: Record<string, unknown>[] = []
    for (const column of columns) {
      try {
        const read = await parquetReadObjects({
          file,
          metadata,
          columns: [column],
          rowStart: row,
          rowEnd,
          compressors,
        })
        read.forEach((object, i) => {
          rows[i] = Object.assign(rows[i] ?? {}, object)
        })
      } catch (error) {
        throw refuse('a row group that cannot be read', error, row + 1)
      }
    }
    for (const object of rows) yield { line: ++row, values: asText(object) }
  }
}
