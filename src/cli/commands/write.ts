import type { GenerationEnd } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'

/** How a text is to be written, as the command line gives it. */
export interface WriteOptions {
  maxTokens?: string
  temperature?: string
  topP?: string
  topK?: string
  seed?: string
  stop?: string[]
  system?: string
}

/** Writes on after each prompt, to the terminal as the words come; a model of conversations is asked instead. */
export async function write(
  { client, out, signal }: Context,
  model: string,
  prompts: readonly string[],
  options: WriteOptions & { chat: boolean },
) {
  const { stop, chat, system } = options
  const parameters = { ...numbers(options), ...(stop && { stop }), signal }
  const answers = []
  for (const prompt of prompts) {
    const ask = chat
      ? [...(system === undefined ? [] : [{ role: 'system', content: system }]), { role: 'user', content: prompt }]
      : prompt
    if (out.json) {
      answers.push(await client.generate(model, ask, parameters))
      continue
    }
    if (!chat) out.piece(prompt)
    let end: GenerationEnd | undefined
    try {
      for await (const event of client.stream(model, ask, parameters)) {
        out.piece(event.text)
        if (event.type === 'end') end = event
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      out.piece('\n')
    }
    if (end)
      out.say(
        out.style(
          'dim',
          `${end.usage.completionTokens} tokens, ended by ${end.finish === 'stop' ? 'itself' : end.finish}`,
        ),
      )
  }
  if (out.json) out.document(answers.length === 1 ? answers[0] : answers)
}

/** Those of the options that are numbers. Throws OPTION_INVALID. */
export function numbers(options: WriteOptions): Record<string, number> {
  const names = ['maxTokens', 'temperature', 'topP', 'topK', 'seed'] as const
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = options[name]
      if (value === undefined) return []
      const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
      if (value.trim() === '' || !Number.isFinite(Number(value)))
        throw fail('OPTION_INVALID', { option, reason: `expected a number, got "${value.slice(0, 40)}"` })
      return [[name, Number(value)]]
    }),
  )
}
