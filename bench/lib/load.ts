// A load generator in a process of its own: node load.ts URL CLIENTS SECONDS [BODY] → one JSON line of latencies and counts.
import { load, requestTo } from './clients.ts'
import { texts } from './texts.ts'

const [url, clients, seconds] = [new URL(process.argv[2]), Number(process.argv[3]), Number(process.argv[4])]
const bodies = process.argv[5]
  ? [process.argv[5]]
  : texts.map((text) => JSON.stringify({ inputs: text, parameters: { topK: 1 } }))
const requests = url.pathname === '/health' ? [requestTo(url)] : bodies.map((body) => requestTo(url, body))
console.log(JSON.stringify(await load(url, requests, { clients, seconds })))
