import { once } from 'node:events'
import { connect } from 'node:net'
import { quantile } from './statistics.ts'

/** What came of a round of requests: answers a second and latencies in milliseconds of those that were right. */
export interface Load {
  perSecond: number
  p50: number
  p99: number
  requests: number
  failed: number
  wrong: number
}

/** A request as it stands on the wire; a body of JSON is posted. */
export function requestTo({ pathname, host }: URL, body?: string): Buffer {
  const head = `${body === undefined ? 'GET' : 'POST'} ${pathname} HTTP/1.1\r\nhost: ${host}\r\n`
  if (body === undefined) return Buffer.from(`${head}\r\n`)
  return Buffer.from(
    `${head}content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

/**
 * So many clients, each of which waits for its answer before it asks again, in turn through the requests. These are written
 * to bare sockets and answers read by their length: a client's own work would count as the server's.
 */
export async function load(
  { hostname, port }: URL,
  requests: readonly Buffer[],
  { clients, seconds }: { clients: number; seconds: number },
  right?: (body: string, which: number) => boolean,
): Promise<Load> {
  const times: number[] = []
  const counts = { failed: 0, wrong: 0 }
  let at = 0
  const began = performance.now()
  const end = began + seconds * 1000

  const client = async () => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    await once(socket, 'connect')
    const done = Promise.withResolvers<void>()
    let started = 0
    let which = 0
    let answer: Buffer = Buffer.alloc(0)
    const ask = () => {
      started = performance.now()
      if (started >= end) return socket.end()
      which = at++ % requests.length
      socket.write(requests[which])
    }
    socket.on('data', (piece: Buffer) => {
      answer = answer.length === 0 ? piece : Buffer.concat([answer, piece])
      const split = answer.indexOf('\r\n\r\n')
      if (split < 0) return
      const headers = answer.toString('latin1', 0, split)
      const length = Number(/content-length: (\d+)/i.exec(headers)?.[1])
      if (answer.length < split + 4 + length) return
      if (!headers.startsWith('HTTP/1.1 200')) counts.failed++
      else if (right && !right(answer.toString('latin1', split + 4), which)) counts.wrong++
      else times.push(performance.now() - started)
      answer = Buffer.alloc(0)
      ask()
    })
    socket.on('error', () => counts.failed++)
    socket.on('close', () => done.resolve())
    ask()
    await done.promise
  }
  await Promise.all(Array.from({ length: clients }, client))
  const perSecond = times.length / ((performance.now() - began) / 1000)
  return { perSecond, p50: quantile(times, 0.5), p99: quantile(times, 0.99), requests: times.length, ...counts }
}
