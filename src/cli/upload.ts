import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { fail } from '../base/errors.ts'
import { openCorpus } from '../data/corpus/corpus.ts'
import { openDataset } from '../data/dataset.ts'
import type { Context } from './context.ts'
import { bar, bytes } from './terminal.ts'

/** Sends a file or folder to the server and returns its data set id; `npm:…` is passed on as it is. */
export async function upload(
  source: string,
  { client, out }: Pick<Context, 'client' | 'out'>,
  task?: string,
): Promise<string> {
  if (source.startsWith('npm:')) return source
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
  })
  const content = found.isDirectory()
    ? Readable.from(task === 'text-generation' ? corpusAsJsonLines(source) : folderAsJsonLines(source))
    : createReadStream(source)
  content.on('error', (error: Error) => progress.destroy(error))
  const stream = Readable.toWeb(content.pipe(progress)) as ReadableStream<Uint8Array>
  const { id } = await client.datasets.upload(found.isDirectory() ? `${name}.jsonl` : name, stream)
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
