import { type Unzipped, unzipSync, type Zippable, zipSync } from 'fflate'
import { checkFileName, type Files, invalid } from './source.ts'

const ENTRY_LIMIT = 10_000
/** A deflated file may grow, but not without end. */
const RATIO_LIMIT = 200
const GROWTH_FREE = 1 << 20

export const isZip = (bytes: Uint8Array) => bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] === 3 && bytes[3] === 4

/** Names and sizes of a zip archive's entries, from its directory; nothing is unpacked. Throws FORMAT_INVALID. */
export function listZip(bytes: Uint8Array, format: string): { name: string; size: number }[] {
  const entries: { name: string; size: number }[] = []
  unpack(bytes, format, ({ name, originalSize }) => {
    entries.push({ name, size: originalSize })
    return false
  })
  return entries
}

/**
 * Unpacks the wanted files of a zip archive in memory. Names must be plain relative ones and come once, sizes stay within
 * what the archive's own size allows; no name reaches the disk. Throws FORMAT_INVALID.
 */
export function readZip(bytes: Uint8Array, format: string, wanted: (name: string) => boolean): Files {
  let left = bytes.byteLength * RATIO_LIMIT + GROWTH_FREE
  const seen = new Set<string>()
  const sizes = new Map<string, number>()
  const files = unpack(bytes, format, ({ name, originalSize, size }) => {
    if (seen.size >= ENTRY_LIMIT) throw invalid(format, `more than ${ENTRY_LIMIT} files in the archive`)
    if (name.endsWith('/')) return false
    checkFileName(name)
    if (seen.has(name)) throw invalid(format, `two files named "${name.slice(0, 80)}" in the archive`)
    seen.add(name)
    if (!wanted(name)) return false
    if (size > bytes.byteLength) throw invalid(format, `"${name.slice(0, 80)}" claims to be larger than the archive`)
    left -= originalSize
    if (left < 0) throw invalid(format, 'the archive would unpack to far more than its size')
    sizes.set(name, originalSize)
    return true
  })
  for (const [name, content] of Object.entries(files)) {
    if (content.byteLength !== sizes.get(name)) throw invalid(format, `"${name.slice(0, 80)}" is cut off`)
  }
  return files
}

function unpack(
  bytes: Uint8Array,
  format: string,
  filter: (entry: { name: string; size: number; originalSize: number }) => boolean,
): Unzipped {
  try {
    return unzipSync(bytes, { filter })
  } catch (error) {
    if (error instanceof Error && error.name === 'AthanorError') throw error
    throw invalid(format, 'the zip archive cannot be read', error)
  }
}

/** A zip archive of the files, stored without compression: weights hardly shrink, and readers can map them. */
export const writeZip = (files: Files): Uint8Array =>
  zipSync(
    Object.fromEntries(
      Object.entries(files).map(([name, content]) => [name, [content, { level: 0, mtime: EPOCH }]]),
    ) as Zippable,
  )

/** The same content gives the same bytes: an archive's times begin in 1980. */
const EPOCH = new Date(1980, 0, 1)
