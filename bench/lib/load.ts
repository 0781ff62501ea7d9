// A load generator in a process of its own: node load.ts URL CLIENTS SECONDS [BODY] → one JSON line of latencies and counts.
// Requests are written to bare sockets and answers read by their length: the client's own work would count as the server's.
import { once } from 'node:events'
import { connect } from 'node:net'
import { quantile } from './statistics.ts'
import { texts } from './texts.ts'

const [url, clients, seconds] = [new URL(process.argv[2]), Number(process.argv[3]), Number(process.argv[4])]
const head = (method: string, more = '') => `${method} ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n${more}\r\n`
const bodies = process.argv[5]
  ? [process.argv[5]]
  : texts.map((text) => JSON.stringify({ inputs: text, parameters: { topK: 1 } }))
const requests =
  url.pathname === '/health'
    ? [Buffer.from(head('GET'))]
    : bodies.map((body) => {
        const length = `content-length: ${Buffer.byteLength(body)}\r\n`
        return Buffer.from(`${head('POST', `content-type: application/json\r\n${length}`)}${body}`)
      })

const times: number[] = []
let failed = 0
let at = 0
const began = performance.now()
const end = began + seconds * 1000

await Promise.all(
  Array.from({ length: clients }, async () => {
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    await once(socket, 'connect')
    const done = Promise.withResolvers<void>()
    let started = 0
    let answer: Buffer = Buffer.alloc(0)
    const ask = () => {
      started = performance.now()
      if (started >= end) return socket.end()
      socket.write(requests[at++ % requests.length])
    }
    socket.on('data', (piece: Buffer) => {
      answer = answer.length === 0 ? piece : Buffer.concat([answer, piece])
      const split = answer.indexOf('\r\n\r\n')
      if (split < 0) return
      const headers = answer.toString('latin1', 0, split)
      const length = Number(/content-length: (\d+)/i.exec(headers)?.[1])
      if (answer.length < split + 4 + length) return
      if (headers.startsWith('HTTP/1.1 200')) times.push(performance.now() - started)
      else failed++
      answer = Buffer.alloc(0)
      ask()
    })
    socket.on('error', () => failed++)
    socket.on('close', () => done.resolve())
    ask()
    await done.promise
  }),
)
const elapsed = (performance.now() - began) / 1000
console.log(
  JSON.stringify({
    perSecond: times.length / elapsed,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    requests: times.length,
    failed,
  }),
)
