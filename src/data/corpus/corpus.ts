import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { fail } from '../../base/errors.ts'
import { openDataset, type ReadOptions } from '../dataset.ts'
import { decodeFile, encodingOf } from '../encoding.ts'
import { parsePackageSpec, visitPackage } from '../packages.ts'
import { readJsonLines } from '../tables.ts'
import { poemsOf } from './poems.ts'

export interface Message {
  role: string
  content: string
}

/** A piece of a corpus: a part of a running text (`more` follows without a break), a whole document, or a conversation. */
type Piece = { text: string; more: boolean } | { messages: Message[] }

/** Texts to learn writing from; `pieces` streams and can be called again. */
export interface Corpus {
  readonly source: string
  readonly kind: 'text' | 'chat'
  pieces(): AsyncIterable<Piece>
  /** sha256 of the content. */
  digest(): Promise<string>
}

/** Characters of a running text that are taken as one piece, up to the end of a line. */
const PIECE = 1 << 16
const ROLES = new Set(['system', 'user', 'assistant', 'tool', 'developer'])
const plain = new Set(['.txt', '.md', '.text'])

/**
 * Opens a text file (one running text), a folder of text files (a document each), a JSONL file of conversations
 * (`{"messages": [{"role", "content"}, …]}`), a table whose text column holds documents, or a package with a recipe
 * (`npm:chinese-poetry@<version>[#folder or beginning of paths]`). Throws DATA_NOT_FOUND, DATA_EMPTY and what the readers throw.
 */
export async function openCorpus(path: string, options: ReadOptions = {}): Promise<Corpus> {
  if (path.startsWith('npm:')) return openPackage(path)
  const source = options.name ?? basename(path)
  const found = await stat(path).catch(() => undefined)
  if (!found) throw fail('DATA_NOT_FOUND', { source })
  if (found.isDirectory()) return openFolder(path, source)
  if (found.size === 0) throw fail('DATA_EMPTY', { source })
  const ending = extname(source).toLowerCase()
  if (plain.has(ending)) return openText(path, source, options.encoding)
  if ((ending === '.jsonl' || ending === '.ndjson') && (await holdsMessages(path, source)))
    return openChat(path, source)
  const dataset = await openDataset(path, options)
  return {
    source,
    kind: 'text',
    async *pieces() {
      for await (const { text } of dataset.rows()) if (text.trim() !== '') yield { text, more: false }
    },
    digest: () => dataset.digest(),
  }
}

async function openText(path: string, source: string, asked: string | undefined): Promise<Corpus> {
  const encoding = await encodingOf(path, asked)
  return {
    source,
    kind: 'text',
    pieces: () => runningText(path, source, encoding),
    digest: () => digestOf(path),
  }
}

async function* runningText(path: string, source: string, encoding: string): AsyncGenerator<Piece> {
  let text = ''
  for await (const more of decodeFile(path, encoding, source)) {
    text += more
    while (text.length > PIECE) {
      const line = text.lastIndexOf('\n', PIECE) + 1
      const end = line > 0 ? line : wholeCharacters(text, PIECE)
      yield { text: text.slice(0, end), more: true }
      text = text.slice(end)
    }
  }
  if (text !== '') yield { text, more: false }
}

/** The place at or before `at` that cuts no surrogate pair. */
export const wholeCharacters = (text: string, at: number) => (/[\ud800-\udbff]/.test(text[at - 1] ?? '') ? at - 1 : at)

async function openFolder(path: string, source: string): Promise<Corpus> {
  const files = (await readdir(path, { recursive: true }))
    .filter((file) => plain.has(extname(file).toLowerCase()))
    .sort()
  if (files.length === 0) throw fail('DATA_EMPTY', { source })
  async function* pieces(): AsyncGenerator<Piece> {
    for (const file of files) {
      const full = join(path, file)
      yield* runningText(full, `${source}/${file}`, await encodingOf(full, undefined))
    }
  }
  return { source, kind: 'text', pieces, digest: () => digestPieces(pieces()) }
}

async function holdsMessages(path: string, source: string): Promise<boolean> {
  for await (const { values } of readJsonLines({ path, source, encoding: 'utf-8' })) return 'messages' in values
  return false
}

async function openChat(path: string, source: string): Promise<Corpus> {
  return {
    source,
    kind: 'chat',
    async *pieces() {
      for await (const { line, values } of readJsonLines({ path, source, encoding: 'utf-8' }))
        yield { messages: messagesOf(values.messages, source, line) }
    },
    digest: () => digestOf(path),
  }
}

function messagesOf(value: unknown, source: string, line: number): Message[] {
  const malformed = (reason: string) => fail('DATA_MALFORMED', { source, line, reason })
  let list: unknown = value
  try {
    if (typeof value === 'string') list = JSON.parse(value)
  } catch {
    throw malformed('"messages" is not a list')
  }
  if (!Array.isArray(list) || list.length === 0) throw malformed('"messages" is not a list of messages')
  const messages = list.map((one: unknown, i) => {
    const { role, content } = (one ?? {}) as Record<string, unknown>
    if (typeof role !== 'string' || !ROLES.has(role))
      throw malformed(`message ${i + 1}: role must be one of ${[...ROLES].join(', ')}`)
    if (typeof content !== 'string') throw malformed(`message ${i + 1}: content must be a text`)
    return { role, content }
  })
  if (!messages.some(({ role }) => role === 'assistant')) throw malformed('no message of the assistant to learn from')
  return messages
}

async function openPackage(source: string): Promise<Corpus> {
  const spec = parsePackageSpec(source)
  if (spec.name !== 'chinese-poetry')
    throw fail('UNSUPPORTED', {
      what: `${source} as a corpus`,
      instead: 'Give a text file, a folder of them or JSONL.',
    })
  const poems: string[] = []
  const beginning = spec.path ?? 'dist/quantangshi/poet.tang.'
  await visitPackage(
    spec,
    (path) => path.startsWith(beginning) && path.endsWith('.json'),
    async (_path, content) => {
      poems.push(...poemsOf(content.toString('utf8')))
    },
  )
  if (poems.length === 0) throw fail('DATA_EMPTY', { source })
  async function* pieces(): AsyncGenerator<Piece> {
    for (const text of poems) yield { text, more: false }
  }
  return { source, kind: 'text', pieces, digest: () => digestPieces(pieces()) }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  return hash.digest('hex')
}

async function digestPieces(pieces: AsyncIterable<Piece>): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of pieces) hash.update(JSON.stringify(piece))
  return hash.digest('hex')
}
