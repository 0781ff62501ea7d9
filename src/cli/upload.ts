import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { pack } from 'tar-stream'
import { fail } from '../base/errors.ts'
import { openCorpus } from '../data/corpus/corpus.ts'
import { openDataset } from '../data/dataset.ts'
import { idxName, imageFilesIn } from '../data/images/names.ts'
import type { Context } from './context.ts'
import { bar, bytes } from './terminal.ts'

/** Sends a file or folder to the server and returns its data set id; `npm:…` is passed on as it is. */
export async function upload(source: string, context: Context, task?: string): Promise<string> {
  if (source.startsWith('npm:')) return source
  return persist(context, () => uploadAll(source, context, task))
}

/** Does it again where it failed because the server went away and another is there. */
export async function persist<T>({ moved }: Context, act: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (!(await moved())) throw error
    }
  }
}

async function uploadAll(source: string, { client, out }: Context, task?: string): Promise<string> {
  const found = await stat(source).catch(() => undefined)
  if (!found) throw fail('DATA_NOT_FOUND', { source })
  if (found.isFile() && found.size === 0) throw fail('DATA_EMPTY', { source: basename(source) })
  const name = basename(source) || 'data'
  let sent = 0
  let drawn = 0
  const progress = new Transform({
    transform(piece: Buffer, _encoding, done) {
      sent += piece.length
      if (found.size > 32 << 20 && Date.now() - drawn > 200) {
        drawn = Date.now()
        out.redraw([`uploading ${name} ${bar(sent / found.size, 24)} ${bytes(sent)} of ${bytes(found.size)}`])
      }
      done(null, piece)
    },
    flush(done) {
      const whole = !found.isFile() || images !== undefined || sent === found.size
      done(whole ? null : fail('DATA_MALFORMED', { source: name, reason: 'it changed while it was being sent' }))
    },
  })
  const images = task === 'text-generation' ? undefined : await imagesToPack(source, found.isDirectory())
  const asLines = task === 'text-generation' ? corpusAsJsonLines : folderAsJsonLines
  const content = images
    ? packed(images)
    : found.isDirectory()
      ? Readable.from(asLines(source))
      : createReadStream(source)
  content.on('error', (error: Error) => progress.destroy(error))
  const stream = Readable.toWeb(content.pipe(progress)) as ReadableStream<Uint8Array>
  const { id } = await client.datasets.upload(
    images ? `${name}.tar` : found.isDirectory() ? `${name}.jsonl` : name,
    stream,
  )
  out.clear()
  return id
}

/** A folder of texts becomes one JSON line a text. */
async function* corpusAsJsonLines(folder: string): AsyncGenerator<Buffer> {
  let whole = ''
  for await (const piece of (await openCorpus(folder)).pieces()) {
    if (!('text' in piece)) continue
    whole += piece.text
    if (piece.more) continue
    yield Buffer.from(`${JSON.stringify({ text: whole })}\n`)
    whole = ''
  }
}

/** One folder a class becomes one JSON line a file. */
async function* folderAsJsonLines(folder: string): AsyncGenerator<Buffer> {
  const dataset = await openDataset(folder)
  for await (const { text, label } of dataset.rows()) yield Buffer.from(`${JSON.stringify({ text, label })}\n`)
}

const IMAGE = /\.(png|jpe?g|webp|gif|tiff?|avif|heic)$/i

/** Files to send as one archive: those of a folder of images, an idx file and its pair; undefined for other data. */
async function imagesToPack(source: string, isFolder: boolean): Promise<{ path: string; name: string }[] | undefined> {
  const folder = isFolder ? source : dirname(source)
  const own = idxName(basename(source))
  if (!isFolder && !own) return undefined
  const all = isFolder ? await imageFilesIn(folder) : await readdir(folder)
  const wanted = isFolder
    ? all.filter((name) => IMAGE.test(name) || idxName(basename(name)))
    : all.filter((name) => idxName(name)?.part === own!.part)
  if (wanted.length === 0) return undefined
  // what is no image among images is sent as well: the server names it
  return (isFolder ? all : wanted).map((name) => ({ path: join(folder, name), name }))
}

/** A tar archive of files, made as it is read. */
function packed(files: readonly { path: string; name: string }[]): Readable {
  const archive = pack()
  const write = async () => {
    for (const { path, name } of files) {
      const { size } = await stat(path)
      await pipeline(createReadStream(path), archive.entry({ name, size }))
    }
    archive.finalize()
  }
  write().catch((error: Error) => archive.destroy(error))
  return Readable.from(archive)
}
