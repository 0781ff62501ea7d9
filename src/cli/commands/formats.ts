import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream as WebStream } from 'node:stream/web'
import { AthanorError, type ExportOptions, type ImportOptions, type ModelDetail } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import { modelNameFrom } from '../../base/ids.ts'
import { pixelScales } from '../../formats/bare/scales.ts'
import type { Context } from '../context.ts'
import { send, sendAll } from '../sending.ts'
import { bytes } from '../terminal.ts'

/** Lists the formats that models are read from and written to. */
export async function listFormats({ client, out }: Context) {
  const list = await client.formats()
  if (out.json) return out.document(list)
  out.table(
    ['NAME', 'FORMAT', 'OUT', 'IN', 'FILES'],
    list.map(({ name, title, files, reads, writes }) => [
      name,
      title,
      writes ? 'yes' : '-',
      reads ? 'yes' : '-',
      files,
    ]),
  )
}

export interface ImportFlags {
  name?: string
  description?: string
  format?: string
  tokenizer?: string
  labels?: string
  length?: string
  task?: string
  padding?: 'pre' | 'post'
  truncating?: 'pre' | 'post'
  pixels?: Pixels
  fit?: 'cover' | 'contain' | 'fill'
}
type Pixels = NonNullable<ImportOptions['pixels']>

/** Registers a model of any known format: one file, or a folder with all of its files. */
export async function importModel(context: Context, path: string, flags: ImportFlags) {
  const { client, out } = context
  const { name, tokenizer, labels, length, ...rest } = flags
  const target = name ?? nameOf(path)
  const { files, source } = await sendAll(path, context, rest.format)
  const { format, task, description, padding, truncating, pixels, fit } = rest
  const options: ImportOptions = {
    ...(source !== undefined && { source }),
    ...(format !== undefined && { format }),
    ...(task !== undefined && { task }),
    ...(description !== undefined && { description }),
    ...(padding !== undefined && { padding }),
    ...(truncating !== undefined && { truncating }),
    ...(pixels !== undefined && { pixels }),
    ...(fit !== undefined && { fit }),
    ...(tokenizer !== undefined && { tokenizer: await send(tokenizer, context) }),
    ...(labels !== undefined && { labels: listed(labels) }),
    ...(length !== undefined && { length: wholeNumber('length', length) }),
  }
  const detail = await client.models.importSent(target, files, options).catch(async (error: unknown) => {
    const unknown = error instanceof AthanorError && error.code === 'TASK_UNKNOWN'
    if (!unknown || !process.stdin.isTTY || out.json || out.quiet) throw error
    out.say(error.message)
    return client.models.importSent(target, files, { ...options, ...(await askTask(context, options)) })
  })
  if (out.json) return out.document(detail)
  out.data(`${detail.name}@${detail.version}`)
  out.next(nextOf(detail))
}

/** How a model that came in is tried; one of tensors has no words to be asked with. */
function nextOf({ name, manifest: { task } }: ModelDetail): string {
  if (task === 'tensor') return `athanor show ${name}`
  return `athanor run ${name} ${task.startsWith('image') ? 'FILE' : '"…"'}`
}

const listed = (labels: string) => labels.split(',').map((label) => label.trim())

/** Asks at the terminal for what a model's files cannot say. */
async function askTask(context: Context, { labels, pixels }: ImportOptions): Promise<ImportOptions> {
  const { createInterface } = await import('node:readline/promises')
  const ask = createInterface({ input: process.stdin, output: process.stderr })
  const asked = async (question: string) => (await ask.question(question)).trim()
  try {
    const tokenizer = await asked('If it reads texts, the file of its tokenizer (otherwise nothing): ')
    const scale = tokenizer
      ? ''
      : (pixels ??
        (await asked(`If it sees images, what pixels were (${pixelScales.join(', ')}; otherwise nothing): `)))
    if (tokenizer === '' && scale === '') return { task: 'tensor' }
    const names = labels ? '' : await asked('Its labels in order, separated by commas (nothing for 0, 1, …): ')
    return {
      ...(tokenizer
        ? { tokenizer: await send(tokenizer, context) }
        : { task: 'image-classification', pixels: scale as Pixels }),
      ...(names !== '' && { labels: listed(names) }),
    }
  } finally {
    ask.close()
  }
}

/** Registers the folder of a published model, or a graph, to be trained on from; returns what to call the version. */
export async function importFolder(context: Context, folder: string): Promise<string> {
  const { files } = await sendAll(folder, context)
  const options = folder.endsWith('.onnx') ? { task: 'tensor' } : {}
  const { name, version } = await context.client.models.importSent(nameOf(folder), files, options)
  context.out.say(`${folder} registered as ${name}@${version}`)
  return `${name}@${version}`
}

/**
 * From the last part of a path, of the model whose snapshot in a Hugging Face cache it is, of
 * `npm:<package>@<version>#<path>`, or of `hf:OWNER/NAME@<revision>`.
 */
const nameOf = (path: string) => {
  const [, published] = /^(?:npm|hf):(.*)$/.exec(path) ?? []
  if (published === undefined) {
    const [, cached] = /models--(?:[^/\\]*--)?([^/\\]+)[/\\]snapshots[/\\][^/\\]+$/.exec(resolve(path)) ?? []
    return modelNameFrom(cached ?? basename(resolve(path)))
  }
  const [place, below] = published.split('#')
  return modelNameFrom(basename(below ?? place.replace(/(.)@.*$/, '$1')))
}

export interface ExportFlags {
  format?: string
  out?: string
  opset?: string
  externalData?: boolean
  keepOperators?: boolean
}

/** Writes a version in another format into a folder; a file that is there already in part is gone on with. */
export async function exportModel({ client, out }: Context, model: string, flags: ExportFlags) {
  const options: ExportOptions = {
    ...(flags.opset !== undefined && { opset: wholeNumber('opset', flags.opset) }),
    ...(flags.externalData && { externalData: true }),
    ...(flags.keepOperators && { keepOperators: true }),
  }
  const exported = await client.models.export(model, flags.format ?? 'onnx', options)
  const folder = flags.out ?? `${exported.model}-${exported.version}-${exported.format}`
  for (const { name, digest, bytes: size } of exported.files) {
    const path = join(folder, ...name.split('/'))
    await mkdir(dirname(path), { recursive: true })
    await download(client.files.download, digest, size, path)
  }
  if (out.json) return out.document({ ...exported, folder })
  for (const { name, bytes: size } of exported.files) out.data(`${join(folder, name)}  ${bytes(size)}`)
}

/** Fetches a file, twice more from where it broke off; what arrived must have the digest. */
async function download(
  from: (digest: string, offset: number) => Promise<ReadableStream<Uint8Array>>,
  digest: string,
  size: number,
  path: string,
) {
  let at = 0
  for (let attempt = 0; ; attempt++) {
    try {
      const content = Readable.fromWeb((await from(digest, at)) as WebStream<Uint8Array>)
      await pipeline(content, createWriteStream(path, at > 0 ? { flags: 'a' } : {}))
    } catch (error) {
      if (attempt >= 2) throw error
    }
    at = (await stat(path).catch(() => undefined))?.size ?? 0
    if (at >= size) break
    if (attempt >= 2) throw fail('FILE_DIFFERS', { digest })
  }
  const hash = createHash('sha256').update(await readFile(path))
  if (hash.digest('hex') !== digest) throw fail('FILE_DIFFERS', { digest })
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1)
    throw fail('OPTION_INVALID', { option, reason: `expected a whole number, got "${text}"` })
  return value
}
