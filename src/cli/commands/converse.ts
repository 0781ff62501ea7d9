import { createInterface } from 'node:readline'
import type { Context } from '../context.ts'
import { report } from '../report.ts'
import { numbers, type WriteOptions } from './write.ts'

interface Streams {
  readonly input: NodeJS.ReadableStream
  readonly output: NodeJS.WritableStream
}

/**
 * A conversation at the terminal. A line that ends with a backslash goes on in the next; Ctrl-C stops an answer, of which the
 * conversation keeps what has come; Ctrl-D, or Ctrl-C at the prompt, ends it. A question that fails is taken back.
 */
export async function converse(
  { client, out }: Pick<Context, 'client' | 'out'>,
  model: string,
  options: WriteOptions,
  { input, output }: Streams = { input: process.stdin, output: process.stdout },
) {
  const { stop, system } = options
  const parameters = { ...numbers(options), ...(stop && { stop }) }
  const said = system === undefined ? [] : [{ role: 'system', content: system }]
  const lines = createInterface({ input, output, prompt: '> ', terminal: true })
  let answering: AbortController | undefined
  lines.on('SIGINT', () => (answering ? answering.abort() : lines.close()))
  out.say(out.style('dim', 'Ctrl-C stops an answer, Ctrl-D ends; a line ending with \\ goes on in the next'))
  lines.prompt()
  let asked = ''
  for await (const line of lines) {
    const more = line.endsWith('\\')
    asked += more ? `${line.slice(0, -1)}\n` : line
    if (more) continue
    if (asked.trim() !== '') {
      answering = new AbortController()
      said.push({ role: 'user', content: asked })
      let answer = ''
      try {
        for await (const { text } of client.stream(model, said, { ...parameters, signal: answering.signal })) {
          out.piece(text)
          answer += text
        }
      } catch (error) {
        if (!answering.signal.aborted) {
          report(error, out, 'run')
          answer = ''
        }
      }
      out.piece('\n')
      if (answer === '') said.pop()
      else said.push({ role: 'assistant', content: answer })
      answering = undefined
    }
    asked = ''
    lines.prompt()
  }
  out.piece('\n')
}
