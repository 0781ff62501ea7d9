import { createContext, Script } from 'node:vm'
import { Template } from '@huggingface/jinja'
import { fail } from '../base/errors.ts'

interface Message {
  role: string
  content: string
}

/** Milliseconds and characters that a template may take: it is data that came with a model. */
const TIME_LIMIT = 500
/** Milliseconds for the template that training data are written by: a busy machine must not fail a run. */
export const TRAINING_LIMIT = 20_000
const LENGTH_LIMIT = 4 << 20
const SIZE_LIMIT = 256 << 10

/** OpenAI's ChatML. */
export const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

const call = new Script('render()')

/** A chat template (Jinja, as in Hugging Face's tokenizer_config.json) ready to make prompts of conversations. */
export class ChatTemplate {
  readonly #template: Template
  readonly #tokens: Record<string, string>
  readonly #timeout: number

  /** Throws BUNDLE_INVALID when the template cannot be read. */
  constructor(source: string, tokens: Record<string, string> = {}, timeout = TIME_LIMIT) {
    if (source.length > SIZE_LIMIT) throw fail('BUNDLE_INVALID', { reason: 'the chat template is too long' })
    try {
      this.#template = new Template(source)
    } catch (error) {
      throw fail('BUNDLE_INVALID', { reason: 'the chat template cannot be read' }, { cause: error })
    }
    this.#tokens = tokens
    this.#timeout = timeout
  }

  /** Throws BAD_REQUEST with the template's own words when it refuses the messages, or takes too long over them. */
  render(messages: readonly Message[], { answer }: { answer: boolean }): string {
    const values = { ...this.#tokens, messages, add_generation_prompt: answer }
    const render = () => this.#template.render(values)
    try {
      const text: unknown = call.runInContext(createContext({ render }), { timeout: this.#timeout })
      if (typeof text === 'string' && text.length <= LENGTH_LIMIT) return text
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? '' : messageOf(error)
      throw fail('BAD_REQUEST', { message: `messages: the model's chat template cannot take them${reason}` })
    }
    throw fail('BAD_REQUEST', { message: 'messages: the prompt that the chat template makes of them is too long' })
  }
}

const messageOf = (error: unknown) => `: ${String((error as Error)?.message ?? error).slice(0, 200)}`

/**
 * A conversation in stretches of text, each with whether it is the assistant's own: what the template adds when the
 * answer is there, to what it makes of the messages before it. Throws BUNDLE_INVALID for a template that does not only add.
 */
export function stretches(template: ChatTemplate, messages: readonly Message[]): { text: string; own: boolean }[] {
  const result: { text: string; own: boolean }[] = []
  let told = ''
  const extend = (next: string, own: boolean) => {
    if (!next.startsWith(told))
      throw fail('BUNDLE_INVALID', { reason: 'the chat template changes what it made of earlier messages' })
    if (next.length > told.length) result.push({ text: next.slice(told.length), own })
    told = next
  }
  messages.forEach(({ role }, i) => {
    if (role !== 'assistant') return
    extend(template.render(messages.slice(0, i), { answer: true }), false)
    extend(template.render(messages.slice(0, i + 1), { answer: false }), true)
  })
  return result
}
