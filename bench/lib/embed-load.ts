// A load generator in a process of its own: node embed-load.ts JOB.json → one JSON line. So many clients each wait for their
// answer before they ask again, over bare sockets. Of every answer the first numbers of its vector are compared with what they
// should be.
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { quantile } from './statistics.ts'

export interface EmbedJob {
  url: string
  clients: number
  seconds: number
  bodies: string[]
  /** The first numbers of the vector of each body's text, and how far off they may be. */
  expected: number[][]
  tolerance: number
}

const job = JSON.parse(readFileSync(process.argv[2], 'utf8')) as EmbedJob
const url = new URL(job.url)
const requests = job.bodies.map((body) => {
  const length = `content-length: ${Buffer.byteLength(body)}\r\n`
  const head = `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\n${length}\r\n`
  return Buffer.from(head + body)
})
/** A list of numbers under the names that the servers give it. */
const vector = /(?:"(?:embedding|data|predictions)":\s*|^)\[+\s*(-?[\d.][^\]]*)/
const right = (text: string, which: number) => {
  const numbers = vector.exec(text)?.[1].split(',', job.expected[which].length).map(Number) ?? []
  return job.expected[which].every((value, i) => Math.abs(numbers[i] - value) <= job.tolerance)
}

const times: number[] = []
const counts = { failed: 0, wrong: 0 }
let at = 0
const began = performance.now()
const end = began + job.seconds * 1000
await Promise.all(
  Array.from({ length: job.clients }, async () => {
    const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
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
      else if (!right(answer.toString('latin1', split + 4), which)) counts.wrong++
      else times.push(performance.now() - started)
      answer = Buffer.alloc(0)
      ask()
    })
    socket.on('error', () => counts.failed++)
    socket.on('close', () => done.resolve())
    ask()
    await done.promise
  }),
)
const perSecond = times.length / ((performance.now() - began) / 1000)
console.log(JSON.stringify({ perSecond, p50: quantile(times, 0.5), p99: quantile(times, 0.99), ...counts }))
