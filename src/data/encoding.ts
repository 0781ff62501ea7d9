import { open } from 'node:fs/promises'
import { fail } from '../base/errors.ts'

/** The encodings that are recognised; names are those of the WHATWG Encoding Standard. */
const encodings = ['utf-8', 'utf-16le', 'utf-16be', 'gb18030', 'big5'] as const

const SAMPLE = 1 << 18
const CHUNK = 1 << 18

/** The characters that make up a quarter of running Chinese text, simplified and traditional. */
const common = new Set(
  '的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之過还這個來們國說為時會對發經還後點沒麼樣',
)

/**
 * The encoding of a text from its first bytes: byte-order mark, zero bytes of UTF-16, valid UTF-8, and between GB18030
 * and Big5 the one under which more of the text is common Chinese.
 */
export function detectEncoding(sample: Uint8Array): string {
  if (sample[0] === 0xef && sample[1] === 0xbb && sample[2] === 0xbf) return 'utf-8'
  if (sample[0] === 0xff && sample[1] === 0xfe) return 'utf-16le'
  if (sample[0] === 0xfe && sample[1] === 0xff) return 'utf-16be'
  const zeros = [0, 0]
  for (let i = 0; i < sample.length; i++) if (sample[i] === 0) zeros[i % 2]++
  if (Math.max(...zeros) > sample.length / 8) return zeros[1] > zeros[0] ? 'utf-16le' : 'utf-16be'
  if (score(sample, 'utf-8') >= 0) return 'utf-8'
  const [gb, big5] = [score(sample, 'gb18030'), score(sample, 'big5')]
  if (gb < 0 && big5 < 0) return 'utf-8' // undecodable either way; reading will name the line
  return big5 > gb ? 'big5' : 'gb18030'
}

/** Share of common characters among the Chinese ones; -1 when the bytes are not of this encoding. */
function score(sample: Uint8Array, encoding: string): number {
  let text: string
  try {
    // streaming: a character cut by the end of the sample is no error
    text = new TextDecoder(encoding, { fatal: true }).decode(sample, { stream: true })
  } catch {
    return -1
  }
  let [chinese, frequent] = [0, 0]
  for (const character of text) {
    if (!/\p{Script=Han}/u.test(character)) continue
    chinese++
    if (common.has(character)) frequent++
  }
  return chinese ? frequent / chinese : 0
}

/** The encoding to read a file with: the one asked for, checked, or what its beginning looks like. */
export async function encodingOf(path: string, asked: string | undefined): Promise<string> {
  if (asked !== undefined) {
    try {
      return new TextDecoder(asked).encoding
    } catch {
      throw fail('OPTION_INVALID', {
        option: 'encoding',
        reason: `"${asked}" is not an encoding; known are ${encodings.join(', ')}`,
      })
    }
  }
  const file = await open(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(SAMPLE), 0, SAMPLE, 0)
    return detectEncoding(buffer.subarray(0, bytesRead))
  } finally {
    await file.close()
  }
}

/** The text of a file in pieces, without its byte-order mark; throws DATA_UNDECODABLE naming the line. */
export async function* decodeFile(path: string, encoding: string, source: string): AsyncGenerator<string> {
  const decoder = new TextDecoder(encoding, { fatal: true })
  const file = await open(path)
  try {
    const buffer = Buffer.alloc(CHUNK)
    let lines = 0
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK)
      const bytes = buffer.subarray(0, bytesRead)
      let text: string
      try {
        text = decoder.decode(bytes, { stream: bytesRead > 0 })
      } catch {
        throw fail('DATA_UNDECODABLE', { source, line: lines + 1 + badLine(bytes, encoding), encoding })
      }
      if (text) yield text
      if (bytesRead === 0) return
      for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) lines++
    }
  } finally {
    await file.close()
  }
}

/** How many lines of a piece come before the first that cannot be decoded. */
function badLine(bytes: Uint8Array, encoding: string): number {
  const lenient = new TextDecoder(encoding).decode(bytes)
  const bad = lenient.indexOf('\ufffd')
  return bad < 0 ? 0 : lenient.slice(0, bad).split('\n').length - 1
}
