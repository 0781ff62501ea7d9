import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, sep } from 'node:path'
import { Readable } from 'node:stream'
import type { Transfer } from '../../client/src/index.ts'
import { fail } from '../base/errors.ts'
import { fetchModel, publisherOf, type Sink } from '../formats/fetched.ts'
import type { Context } from './context.ts'
import { bar, bytes } from './terminal.ts'
import { persist } from './upload.ts'

/** Files that the server has now, and where they came from if that is a published place. */
export interface Sent {
  readonly files: readonly { name: string; digest: string }[]
  readonly source?: string
}

/** Sends the files of a model to the server: a file, a folder, `npm:…` or `hf:…`. */
export async function sendAll(path: string, context: Context, format?: string): Promise<Sent> {
  if (publisherOf(path)) return persist(context, () => passPublished(path, context, format))
  const files: { name: string; digest: string }[] = []
  for (const [name, at] of await filesOf(path)) files.push({ name, digest: await send(at, context) })
  return { files }
}

/** Sends what is needed of a published model as it arrives. */
async function passPublished(path: string, { client, out }: Context, format?: string): Promise<Sent> {
  let shown: (at: number) => void = () => {}
  const sink: Sink = {
    begin: (digest, bytes) => client.files.begin(digest, bytes),
    send: (part, content) => passOn(content, part, client, (at) => shown(at)),
    next(name, before, total) {
      const draw = progress(out, 'fetching', total)
      shown = (at) => draw(before + at, name)
    },
  }
  try {
    const { files, source } = await fetchModel(path, sink, format)
    return { files: files.map(({ name, digest }) => ({ name, digest })), source }
  } finally {
    out.clear()
  }
}

/** Sends what arrives of a file. Throws what reading it threw, or what the server said. */
async function passOn(
  content: AsyncIterable<Uint8Array>,
  transfer: Transfer,
  client: Context['client'],
  shown: (at: number) => void,
): Promise<Transfer> {
  let broken: unknown
  async function* pieces() {
    let at = transfer.offset
    try {
      for await (const piece of content) {
        at += piece.byteLength
        shown(at)
        yield piece
      }
    } catch (error) {
      broken = error
      throw error
    }
  }
  return client.files
    .send(transfer, Readable.toWeb(Readable.from(pieces())) as ReadableStream<Uint8Array>)
    .catch((error: unknown) => {
      throw broken ?? error
    })
}

/** Draws how far something has come, not too often, where it is large. */
function progress(out: Context['out'], doing: string, total: number): (at: number, name: string) => void {
  let drawn = 0
  return (at, name) => {
    if (total < 32 << 20 || Date.now() - drawn < 200) return
    drawn = Date.now()
    out.redraw([`${doing} ${name} ${bar(at / total, 24)} ${bytes(at)} of ${bytes(total)}`])
  }
}

/** Weights that published folders hold once more for other libraries; they are not sent where safetensors are there. */
const copies = /\.(bin|pt|pth|h5|msgpack|ot|onnx|onnx_data|gguf|tflite|xml)$/

/** The path itself, or the files of a folder by their names below it. */
async function filesOf(path: string): Promise<[name: string, path: string][]> {
  const found = await stat(path)
  if (!found.isDirectory()) return withExternalData(path)
  const files: [string, string][] = []
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const at = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) continue
    if (!entry.isFile()) await checkLink(at, path)
    files.push([at.slice(join(path, sep).length).split(sep).join('/'), at])
  }
  if (files.length === 0) throw fail('DATA_EMPTY', { source: path })
  const published =
    files.some(([name]) => name === 'config.json') && files.some(([name]) => name === 'model.safetensors')
  const needed = published ? files.filter(([name]) => !copies.test(name)) : files
  return needed.sort(([a], [b]) => (a < b ? -1 : 1))
}

/** An ONNX file with the files beside it that exporters keep its tensors in. */
async function withExternalData(path: string): Promise<[name: string, path: string][]> {
  const name = basename(path)
  const files: [string, string][] = [[name, path]]
  if (!name.endsWith('.onnx')) return files
  for (const other of [`${name}.data`, `${name}_data`]) {
    const at = join(dirname(path), other)
    const found = await lstat(at).catch(() => undefined)
    if (found && !found.isFile()) await checkLink(at, dirname(path))
    if (found) files.push([other, at])
  }
  return files
}

/** Where a Hugging Face cache keeps the files that its snapshots link to. */
const CACHED = /[\\/]models--[^\\/]+[\\/]blobs[\\/][0-9a-f]{40,64}$/

/**
 * Links to files of the same folder, or of a Hugging Face cache, are followed; any other might have come with the folder to have
 * a file of this machine sent. Throws FORMAT_INVALID.
 */
async function checkLink(path: string, folder: string) {
  const target = await realpath(path).catch(() => undefined)
  const found = target === undefined ? undefined : await stat(target)
  const inside = target?.startsWith(join(await realpath(folder), sep)) || CACHED.test(target ?? '')
  if (inside && found?.isFile()) return
  const what = found?.isFile() ? `a link out of the folder, to ${target}: put the file itself there` : 'no plain file'
  throw fail('FORMAT_INVALID', {
    format: 'files',
    reason: `"${basename(path)}" is ${found ? what : 'a link to nothing'}`,
  })
}

/** Sends what the server lacks of a file; returns its sha256. */
export const send = (path: string, context: Context): Promise<string> => persist(context, () => sendRest(path, context))

async function sendRest(path: string, { client, out }: Context): Promise<string> {
  const found = await stat(path)
  if (!found.isFile()) throw fail('PATH_UNUSABLE', { path, reason: 'it is no file' })
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  const digest = hash.digest('hex')
  const { offset } = await client.files.begin(digest, found.size)
  if (offset < found.size || found.size === 0) {
    let at = offset
    const shown = progress(out, 'uploading', found.size)
    const content = createReadStream(path, { start: offset }).on('data', (piece) => {
      at += piece.length
      shown(at, basename(path))
    })
    await client.files.send(
      { digest, bytes: found.size, offset },
      Readable.toWeb(content) as ReadableStream<Uint8Array>,
    )
    out.clear()
  }
  return digest
}
