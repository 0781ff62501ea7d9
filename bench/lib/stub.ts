// A server that answers every request with the same short chat completion, as cheaply as can be: prints its port.
import { type AddressInfo, createServer } from 'node:net'

const body = JSON.stringify({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: 'stub',
  choices: [{ index: 0, message: { role: 'assistant', content: 'It is a lovely film.' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 12, completion_tokens: 6, total_tokens: 18 },
})
const models = JSON.stringify({ object: 'list', data: [{ id: 'stub', object: 'model' }] })
const reply = (text: string) =>
  Buffer.from(
    `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
  )
const [answer, list] = [reply(body), reply(models)]

const server = createServer({ noDelay: true }, (socket) => {
  let held = ''
  socket.on('error', () => socket.destroy())
  socket.on('data', (piece) => {
    held += piece.toString('latin1')
    for (let split = held.indexOf('\r\n\r\n'); split >= 0; split = held.indexOf('\r\n\r\n')) {
      const length = Number(/content-length: (\d+)/i.exec(held.slice(0, split))?.[1] ?? 0)
      if (held.length < split + 4 + length) return
      socket.write(held.startsWith('GET') ? list : answer)
      held = held.slice(split + 4 + length)
    }
  })
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
