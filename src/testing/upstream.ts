import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Asked {
  path: string
  headers: IncomingMessage['headers']
  body: Record<string, unknown>
}

/** What a stub answers to one request; without it, it writes "Hello there!" or vectors, as OpenAI's API has it. */
type Script = (asked: Asked, response: ServerResponse) => void | Promise<void>

export interface Upstream {
  readonly url: string
  readonly asked: Asked[]
  /** Requests whose caller left before they were answered. */
  readonly left: number
  /** Answers of the next requests, in order; the others get the usual one. */
  next(...scripts: Script[]): void
  close(): Promise<void>
}

const json = (response: ServerResponse, value: unknown, status = 200) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))

export const chunk = (delta: unknown, finish: string | null = null) =>
  `data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`
export const usage = { prompt_tokens: 7, completion_tokens: 3, total_tokens: 10 }

const words = ['Hello', ' there', '!']

function usual({ path, body }: Asked, response: ServerResponse) {
  if (path === '/v1/models') return json(response, { object: 'list', data: [{ id: 'big', object: 'model' }] })
  if (path === '/v1/embeddings') {
    const data = (body.input as string[]).map((text, index) => ({ index, embedding: [text.length, 1, 0] }))
    return json(response, { data: data.toReversed(), usage: { prompt_tokens: 4, total_tokens: 4 } })
  }
  const chat = path === '/v1/chat/completions'
  if (!body.stream) {
    const text = words.join('')
    const choice = {
      index: 0,
      finish_reason: 'stop',
      ...(chat ? { message: { role: 'assistant', content: text } } : { text }),
    }
    return json(response, { choices: [choice], usage })
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const word of words)
    response.write(
      chat ? chunk({ content: word }) : `data: ${JSON.stringify({ choices: [{ index: 0, text: word }] })}\n\n`,
    )
  response.write(chunk({}, 'stop'))
  response.end(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`)
}

/** A server that speaks enough of OpenAI's API, and does as it is told. */
export async function startUpstream(): Promise<Upstream> {
  const asked: Asked[] = []
  const scripts: Script[] = []
  let left = 0
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const piece of request) text += String(piece)
    const one: Asked = { path: request.url!, headers: request.headers, body: text === '' ? {} : JSON.parse(text) }
    asked.push(one)
    response.once('close', () => {
      if (!response.writableFinished) left++
    })
    const script = one.path === '/v1/models' ? undefined : scripts.shift()
    await (script ?? usual)(one, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    get left() {
      return left
    },
    next(...more) {
      scripts.push(...more)
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
