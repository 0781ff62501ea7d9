// The least that answering over HTTP from a child process takes: node:http reads a request, a child process answers what it
// is sent, and that is written. Prints its port.
import { fork } from 'node:child_process'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'

interface Ask {
  id: number
  text: string
}

if (process.send) {
  process.on('message', ({ id }: Ask) => process.send!({ id, outputs: [[{ label: 'a', score: 1 }]] }))
} else {
  const child = fork(fileURLToPath(import.meta.url), { serialization: 'advanced' })
  const waiting = new Map<number, ServerResponse>()
  let next = 1
  child.on('message', ({ id, outputs }: { id: number; outputs: unknown }) => {
    const body = JSON.stringify({ outputs })
    waiting.get(id)?.setHeader('content-length', body.length).end(body)
    waiting.delete(id)
  })
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (piece) => {
      body += piece
    })
    request.on('end', () => {
      waiting.set(next, response)
      child.send({ id: next++, text: (JSON.parse(body) as { inputs: string }).inputs } satisfies Ask)
    })
  })
  server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
}
