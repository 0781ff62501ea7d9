// A load generator in a process of its own: node load.ts URL CLIENTS SECONDS → one JSON line of latencies and counts.
import { Agent, request } from 'node:http'
import { texts } from './server.ts'

const [url, clients, seconds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const { hostname, port, pathname } = new URL(url)
const agent = new Agent({ keepAlive: true, maxSockets: clients })
const bodies = texts.map((text) => Buffer.from(JSON.stringify({ inputs: text, parameters: { topK: 1 } })))
const get = pathname === '/health'

function ask(i: number): Promise<number> {
  const body = bodies[i % bodies.length]
  const headers = get ? {} : { 'content-type': 'application/json', 'content-length': body.length }
  return new Promise((resolve, reject) => {
    const started = performance.now()
    const call = request(
      { hostname, port, path: pathname, method: get ? 'GET' : 'POST', agent, headers },
      (response) => {
        response.resume()
        response.once('end', () =>
          response.statusCode === 200
            ? resolve(performance.now() - started)
            : reject(new Error(`status ${response.statusCode}`)),
        )
      },
    )
    call.once('error', reject)
    call.end(get ? undefined : body)
  })
}

const times: number[] = []
let failed = 0
let at = 0
const end = performance.now() + seconds * 1000
const began = performance.now()
await Promise.all(
  Array.from({ length: clients }, async () => {
    while (performance.now() < end) {
      await ask(at++).then(
        (ms) => times.push(ms),
        () => failed++,
      )
    }
  }),
)
const elapsed = (performance.now() - began) / 1000
times.sort((a, b) => a - b)
const quantile = (q: number) => times[Math.min(times.length - 1, Math.floor(q * times.length))]
console.log(
  JSON.stringify({
    perSecond: times.length / elapsed,
    p50: quantile(0.5),
    p99: quantile(0.99),
    requests: times.length,
    failed,
  }),
)
agent.destroy()
