// An open-loop load generator in a process of its own: node open.ts URL RATE SECONDS → one JSON line. Requests come as a
// Poisson process, to the millisecond, whether or not earlier ones are answered. Every answer is compared with the first
// one to the same text.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { random } from '../../src/base/random.ts'
import { quantile } from './statistics.ts'
import { texts } from './texts.ts'

const [url, rate, seconds] = [new URL(process.argv[2]), Number(process.argv[3]), Number(process.argv[4])]
const requests = texts.map((text) => {
  const body = JSON.stringify({ inputs: text, parameters: { topK: 1 } })
  const length = `content-length: ${Buffer.byteLength(body)}\r\n`
  const head = `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\n${length}\r\n`
  return Buffer.from(head + body)
})

interface Line {
  socket: Socket
  answer: Buffer
  sent: number
  which: number
}

const idle: Line[] = []
const times: number[] = []
const said = new Map<number, string>()
let [failed, wrong, open] = [0, 0, 0]

async function newLine(): Promise<Line> {
  const socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
  await once(socket, 'connect')
  const line: Line = { socket, answer: Buffer.alloc(0), sent: 0, which: 0 }
  socket.on('data', (piece: Buffer) => {
    line.answer = line.answer.length === 0 ? piece : Buffer.concat([line.answer, piece])
    const split = line.answer.indexOf('\r\n\r\n')
    if (split < 0) return
    const headers = line.answer.toString('latin1', 0, split)
    const length = Number(/content-length: (\d+)/i.exec(headers)?.[1])
    if (line.answer.length < split + 4 + length) return
    times.push(performance.now() - line.sent)
    if (!headers.startsWith('HTTP/1.1 200')) failed++
    else {
      const { outputs } = JSON.parse(line.answer.toString('utf8', split + 4)) as { outputs: [[{ label: string }]] }
      const label = outputs[0][0].label
      if (said.get(line.which) === undefined) said.set(line.which, label)
      else if (said.get(line.which) !== label) wrong++
    }
    line.answer = Buffer.alloc(0)
    open--
    idle.push(line)
  })
  socket.on('error', () => failed++)
  return line
}

for (let i = 0; i < 64; i++) idle.push(await newLine())
const draw = random(1)
const began = performance.now()
let due = began
for (let n = 0; due < began + seconds * 1000; n++) {
  due += (-Math.log(1 - draw()) / rate) * 1000
  while (performance.now() < due) await new Promise((resolve) => setTimeout(resolve, 1)) // looking oftener takes a core
  const line = idle.pop() ?? (await newLine())
  line.sent = performance.now()
  line.which = n % requests.length
  open++
  line.socket.write(requests[line.which])
}
while (open > 0) await new Promise((resolve) => setTimeout(resolve, 5))
const elapsed = (performance.now() - began) / 1000
const perSecond = times.length / elapsed
console.log(
  JSON.stringify({
    perSecond,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
    requests: times.length,
    failed: failed + wrong,
  }),
)
process.exit(0)
