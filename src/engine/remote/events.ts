import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'

/** Longest event in characters. */
const EVENT_LIMIT = 1 << 20

/**
 * The data of server-sent events (WHATWG HTML, 9.2) of a stream of bytes; other fields and comments are passed over;
 * the stream is left open where the reader stops. Throws RangeError for an event beyond a million characters.
 */
export async function* eventData(stream: Readable): AsyncGenerator<string, undefined> {
  const decoder = new StringDecoder('utf8')
  let held = ''
  let data: string | undefined
  for await (const piece of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const lines = (held + decoder.write(piece)).split('\n')
    held = lines.pop()!
    for (const ended of lines) {
      const line = ended.endsWith('\r') ? ended.slice(0, -1) : ended
      if (line === '') {
        if (data !== undefined) yield data
        data = undefined
      } else if (line.startsWith('data:')) {
        const value = line.slice(line[5] === ' ' ? 6 : 5)
        data = data === undefined ? value : `${data}\n${value}`
      }
    }
    if (held.length + (data?.length ?? 0) > EVENT_LIMIT) throw new RangeError('an event that does not end')
  }
  // some servers leave the last empty line out
  if (held.startsWith('data:')) data = held.slice(5).trim()
  if (data !== undefined) yield data
  return undefined
}
