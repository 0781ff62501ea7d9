/** One server-sent event. */
export interface ServerEvent {
  id: string | undefined
  data: string
}

/** Parses a stream of server-sent events; characters and lines may be cut anywhere. */
export async function* parseEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  let id: string | undefined
  let data: string[] = []
  try {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) return
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) yield { id, data: data.join('\n') }
          data = []
        } else if (line.startsWith('data: ')) data.push(line.slice(6))
        else if (line.startsWith('id: ')) id = line.slice(4)
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
