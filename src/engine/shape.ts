import { newId } from '../base/ids.ts'
import { anyObject, type Grammar, jsonRules, prose, rule, type Term, text } from '../data/grammar/grammar.ts'
import { schemaGrammar } from '../data/grammar/json-schema.ts'
import type { ChatMessage, GenerationEvent, GenerationRequest, Tool } from './messages.ts'

/** How a text is held to a form: the grammar of all that may be written, and whether calls are to be found in it. */
export interface Shape {
  readonly grammar: Grammar | undefined
  readonly tools: readonly Tool[]
}

/** The form that a request asks for; throws BAD_REQUEST for schemas that cannot be held to. */
export function shapeOf({ json, tools = [], toolChoice = 'auto' }: GenerationRequest): Shape {
  const answer = json === undefined ? undefined : json === true ? anyObject : schemaGrammar(json)
  const callable = typeof toolChoice === 'object' ? tools.filter(({ name }) => name === toolChoice.name) : tools
  if (callable.length === 0) return { grammar: answer, tools: [] }
  const rules = new Map<string, readonly (readonly Term[])[]>([...jsonRules, ...prose, ...(answer ?? [])])
  const calls = callable.map(({ name, parameters = { type: 'object' } }, i) => {
    for (const [key, choices] of schemaGrammar(parameters, `t${i}-`)) rules.set(key, choices)
    const head = text(`{"name":`)
    const named = text(`${JSON.stringify(name)}`)
    return [
      head,
      rule('space'),
      named,
      rule('comma'),
      text('"arguments":'),
      rule('space'),
      rule(`t${i}-root`),
      text('}'),
    ]
  })
  const instead = answer ? 'answer' : 'prose'
  if (answer) rules.set('answer', answer.get('root')!)
  rules.set('root', toolChoice === 'auto' ? [...calls, [rule(instead)]] : calls)
  return { grammar: rules, tools: callable }
}

/** Messages as any chat template takes them: what may be called is told by the system, calls and their results in words. */
export function plainMessages({ messages = [], tools, toolChoice = 'auto' }: GenerationRequest): ChatMessage[] {
  const plain = messages.map(({ role, content, calls }): ChatMessage => {
    if (role === 'tool') return { role: 'user', content: `The function returned:\n${content}` }
    const made = (calls ?? []).map(
      ({ name, arguments: given }) => `{"name": ${JSON.stringify(name)}, "arguments": ${given}}`,
    )
    return { role, content: [content, ...made].filter(Boolean).join('\n') }
  })
  if (!tools?.length) return plain
  const told = [
    'You can call these functions:',
    ...tools.map((tool) => JSON.stringify(tool)),
    'To call one, answer with nothing but a JSON object: {"name": "the function", "arguments": {…}}.',
    ...(toolChoice === 'auto' ? ['Answer in words when no call is needed.'] : []),
  ].join('\n')
  const [first] = plain
  if (first?.role !== 'system') return [{ role: 'system', content: told }, ...plain]
  return [{ role: 'system', content: `${first.content}\n\n${told}` }, ...plain.slice(1)]
}

/** A text that turns out to be a call, as one; all others as they are. */
export async function* withCalls(
  events: AsyncIterable<GenerationEvent>,
  tools: readonly Tool[],
): AsyncGenerator<GenerationEvent, undefined> {
  let held = ''
  let prose = tools.length === 0
  for await (const event of events) {
    if (prose) {
      yield event
      continue
    }
    held += event.text
    const begun = held.trimStart()
    if (event.type === 'token') {
      if (begun === '' || begun.startsWith('{')) continue
      prose = true
      yield { ...event, text: held }
      continue
    }
    const call = event.finish === 'stop' ? callIn(begun, tools) : undefined
    if (call) yield { type: 'token', token: -1, text: '', call: { index: 0, id: newId('call'), ...call } }
    yield call ? { ...event, text: '', finish: 'calls' } : { ...event, text: held }
  }
  return undefined
}

function callIn(written: string, tools: readonly Tool[]): { name: string; arguments: string } | undefined {
  try {
    const { name, arguments: given } = JSON.parse(written) as { name?: unknown; arguments?: unknown }
    const known = tools.find((tool) => tool.name === name)
    return known && given !== undefined ? { name: known.name, arguments: JSON.stringify(given) } : undefined
  } catch {
    return undefined
  }
}
