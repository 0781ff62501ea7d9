import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, extname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Entry, openPromise, type ZipFile } from 'yauzl'
import { fail } from '../base/errors.ts'

/** Most files looked at in an archive. */
const ENTRY_LIMIT = 10_000
/** Bytes that a table may unpack to: as many as may be uploaded, and no more than `RATIO` times its packed size. */
const SIZE_LIMIT = 4 * 2 ** 30
const RATIO = 200
/** Tables up to this size may be packed as tightly as they can be. */
const SMALL = 64 << 20

/**
 * Unpacks the one table of a zip file to a folder of its own, which `close` removes. Sizes are checked before anything is
 * unpacked and held to while it is. Throws ARCHIVE_INVALID.
 */
export async function unpackTable(path: string, source: string, endings: readonly string[]) {
  const refuse = (reason: string, cause?: unknown) => fail('ARCHIVE_INVALID', { source, reason }, { cause })
  let archive: ZipFile
  try {
    archive = await openPromise(path, { autoClose: false })
  } catch (error) {
    throw refuse('not a zip file', error)
  }
  const folder = await mkdtemp(join(tmpdir(), 'athanor-zip-'))
  const close = () => rm(folder, { recursive: true, force: true })
  try {
    const entry = await findTable(archive, endings, refuse)
    const { compressedSize, uncompressedSize } = entry
    if (uncompressedSize > SIZE_LIMIT || (uncompressedSize > SMALL && uncompressedSize > RATIO * compressedSize)) {
      throw refuse(`${basename(entry.fileName)} would unpack from ${compressedSize} to ${uncompressedSize} bytes`)
    }
    const name = basename(entry.fileName)
    const unpacked = join(folder, `table${extname(name).toLowerCase()}`)
    try {
      // the library ends the stream with an error as soon as it holds more than the entry says
      await pipeline(await archive.openReadStreamPromise(entry), createWriteStream(unpacked))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOSPC' || code === 'EDQUOT') throw error
      throw refuse(`${name} cannot be unpacked`, error)
    }
    return { path: unpacked, name, close }
  } catch (error) {
    await close()
    throw error
  } finally {
    archive.close()
  }
}

async function findTable(
  archive: ZipFile,
  endings: readonly string[],
  refuse: (reason: string, cause?: unknown) => Error,
): Promise<Entry> {
  const tables: Entry[] = []
  let count = 0
  try {
    for await (const entry of archive.eachEntry()) {
      if (++count > ENTRY_LIMIT) throw refuse(`more than ${ENTRY_LIMIT} files`)
      const name = basename(entry.fileName)
      // what macOS adds beside each file
      if (entry.fileName.startsWith('__MACOSX/') || name.startsWith('.')) continue
      if (endings.includes(extname(name).toLowerCase())) tables.push(entry)
    }
  } catch (error) {
    if (error instanceof Error && 'details' in error) throw error
    throw refuse('its list of files cannot be read', error)
  }
  if (tables.length === 1) {
    if (tables[0].isEncrypted()) throw refuse(`${basename(tables[0].fileName)} is encrypted`)
    return tables[0]
  }
  const names = tables.slice(0, 5).map(({ fileName }) => basename(fileName))
  throw refuse(tables.length === 0 ? 'it holds no table' : `it holds ${tables.length} tables (${names.join(', ')})`)
}
