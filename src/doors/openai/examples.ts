import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fail } from '../../base/errors.ts'
import type { House } from '../route.ts'

interface Message {
  role?: unknown
  content?: unknown
}

const text = (value: unknown): string | undefined =>
  typeof value === 'string'
    ? value
    : Array.isArray(value)
      ? value.map((part) => (part as { text?: unknown })?.text ?? '').join('')
      : undefined

/**
 * A training example in OpenAI's form as a row of ours: what the user says is the text, what the assistant answers last
 * the label. `undefined` if the value has neither messages nor prompt and completion.
 */
function asRow(value: unknown): { text: string; label: string } | undefined {
  const { messages, prompt, completion } = value as { messages?: Message[]; prompt?: unknown; completion?: unknown }
  if (Array.isArray(messages)) {
    const answer = messages.findLast(({ role }) => role === 'assistant')
    const asked = messages.filter(({ role }) => role === 'user').map(({ content }) => text(content) ?? '')
    return { text: asked.join('\n'), label: (text(answer?.content) ?? '').trim() }
  }
  if (typeof prompt === 'string' && typeof completion === 'string') return { text: prompt, label: completion.trim() }
  return undefined
}

/**
 * The data set to train a classifier on: the file itself, or, where its lines are conversations or prompts with
 * completions, a new one with a text and a label a line. Throws DATA_NOT_FOUND or DATA_MALFORMED.
 */
export async function asTrainable({ datasets, config }: House, file: string): Promise<string> {
  const { filename } = await datasets.get(file)
  if (!/\.(jsonl|ndjson)$/i.test(filename)) return file
  const first = await anyLine(await datasets.open(file))
  if (first === undefined || asRow(parse(first, filename, 1)) === undefined) return file
  async function* rows() {
    let line = 0
    for await (const json of createInterface({ input: await datasets.open(file) })) {
      line++
      if (json.trim() === '') continue
      const row = asRow(parse(json, filename, line))
      if (!row?.text || !row.label)
        throw fail('DATA_MALFORMED', { source: filename, line, reason: 'expected a user message and an answer to it' })
      yield Buffer.from(`${JSON.stringify(row)}\n`)
    }
  }
  return (await datasets.add(filename, rows(), config.uploadLimit)).id
}

async function anyLine(content: NodeJS.ReadableStream): Promise<string | undefined> {
  try {
    for await (const line of createInterface({ input: content })) if (line.trim() !== '') return line
    return undefined
  } finally {
    ;(content as Readable).destroy()
  }
}

function parse(json: string, source: string, line: number): unknown {
  try {
    const value: unknown = JSON.parse(json)
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // told below
  }
  throw fail('DATA_MALFORMED', { source, line, reason: 'not a JSON object' })
}
