import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract, pack } from 'tar-stream'
import { AthanorError, fail } from '../base/errors.ts'
import type { DumpHeader, DumpPart, Row } from './dump.ts'

/** Largest entry but blobs: rows come in parts. */
const LARGEST = 256 << 20
const invalid = (reason: string, cause?: unknown) => fail('BACKUP_INVALID', { reason }, { cause })

/** A dump as a tar file: `athanor.json`, `rows/<table>/<n>.jsonl`, `blobs/<sha256>`, and `end.json` if it is whole. */
export function packBackup(parts: AsyncIterable<DumpPart>): Readable {
  const tar = pack()
  const whole = createHash('sha256')
  // the reader may go away at any time
  const closed = new Promise<never>((_, reject) => tar.once('close', () => reject(new Error('nobody reads it'))))
  closed.catch(() => undefined)
  const add = (name: string, text: string) =>
    Promise.race([
      closed,
      new Promise<void>((resolve, reject) => {
        tar.entry({ name }, text, (error) => (error ? reject(error) : resolve()))
      }),
    ])
  const addHashed = (name: string, text: string) => {
    whole.update(`${name}\n${text}\n`)
    return add(name, text)
  }
  const fill = async () => {
    let part = 0
    for await (const one of parts) {
      if (one.kind === 'header') await addHashed('athanor.json', JSON.stringify(one.header))
      else if (one.kind === 'rows')
        await addHashed(
          `rows/${one.table}/${part++}.jsonl`,
          one.rows.map((row) => JSON.stringify(row, asJson)).join('\n'),
        )
      else if (one.kind === 'blob') {
        const entry = tar.entry({ name: `blobs/${one.digest}`, size: one.bytes })
        await Promise.race([closed, pipeline(one.content, entry)])
        whole.update(`${one.digest}\n`)
      } else {
        const { rows, blobs } = one
        await add('end.json', JSON.stringify({ rows, blobs, sha256: whole.digest('hex') }))
      }
    }
    tar.finalize()
  }
  fill().catch((error) => tar.destroy(error as Error))
  return Readable.from(tar as AsyncIterable<Uint8Array>)
}

/** Bytes in a row as JSON can carry them. */
const asJson = (_: string, value: unknown) =>
  value instanceof Uint8Array || (value as { type?: string } | null)?.type === 'Buffer'
    ? { base64: Buffer.from(value as Uint8Array).toString('base64') }
    : value

const fromJson = (_: string, value: unknown) =>
  typeof value === 'object' && value !== null && 'base64' in value ? Buffer.from(String(value.base64), 'base64') : value

/** Reads what `packBackup` wrote; throws BACKUP_INVALID where it was changed or cut. */
export async function* readBackup(path: string): AsyncGenerator<DumpPart> {
  const tar = extract()
  const file = createReadStream(path)
  file.on('error', (error) => tar.destroy(error)).pipe(tar)
  const whole = createHash('sha256')
  let ended = false
  try {
    for await (const entry of tar) {
      const { name, size = 0 } = entry.header
      const blob = /^blobs\/([0-9a-f]{64})$/.exec(name)?.[1]
      if (blob !== undefined) {
        yield { kind: 'blob', digest: blob, bytes: size, content: entry as AsyncIterable<Uint8Array> }
        entry.resume() // what nobody read of it
        whole.update(`${blob}\n`)
        continue
      }
      if (size > LARGEST) throw invalid(`its part ${name.slice(0, 80)} is too large`)
      const pieces: Uint8Array[] = []
      for await (const piece of entry) pieces.push(piece as Uint8Array)
      const text = Buffer.concat(pieces).toString('utf8')
      if (name === 'end.json') {
        const { rows, blobs, sha256 } = JSON.parse(text) as { rows: number; blobs: number; sha256: string }
        if (sha256 !== whole.digest('hex')) throw invalid('it was changed since it was made')
        ended = true
        yield { kind: 'end', rows, blobs }
        continue
      }
      whole.update(`${name}\n${text}\n`)
      const table = /^rows\/([a-z0-9_]+)\/\d+\.jsonl$/.exec(name)?.[1]
      if (name === 'athanor.json') yield { kind: 'header', header: headerOf(text) }
      else if (table === undefined) throw invalid(`it has a part "${name.slice(0, 80)}"`)
      else yield { kind: 'rows', table, rows: text.split('\n').map((line) => JSON.parse(line, fromJson) as Row) }
    }
  } catch (error) {
    throw error instanceof AthanorError ? error : invalid('it cannot be read to its end', error)
  } finally {
    file.destroy()
  }
  if (!ended) throw invalid('it ends too early')
}

function headerOf(text: string): DumpHeader {
  const header = JSON.parse(text) as DumpHeader
  if (header.format !== 'athanor-backup' || header.formatVersion !== 1) throw invalid('it is not one of this program')
  return header
}

/** Reads a backup to its end and compares every digest; throws BACKUP_INVALID. */
export async function checkBackup(path: string): Promise<{ rows: number; blobs: number }> {
  const found = { rows: 0, blobs: 0 }
  for await (const part of readBackup(path)) {
    if (part.kind === 'rows') found.rows += part.rows.length
    if (part.kind === 'end' && (part.rows !== found.rows || part.blobs !== found.blobs))
      throw invalid('something is missing in it')
    if (part.kind !== 'blob') continue
    found.blobs++
    const hash = createHash('sha256')
    for await (const piece of part.content) hash.update(piece)
    if (hash.digest('hex') !== part.digest) throw invalid(`the file ${part.digest.slice(0, 12)}… is not what it was`)
  }
  return found
}
