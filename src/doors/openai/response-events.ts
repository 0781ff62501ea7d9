import { newId } from '../../base/ids.ts'
import type { beginAll, EndEvent, TokenEvent } from './generation.ts'
import { logprobOf, now } from './generation.ts'
import type { ResponseRequest } from './response-input.ts'

type Begun = Awaited<ReturnType<typeof beginAll>>['events']
/** The name of an event and what it tells. */
type Told = readonly [type: string, data: Record<string, unknown>]

const statusOf = ({ finish }: EndEvent) => (finish === 'length' ? 'incomplete' : 'completed')

/** How a response looks at some moment. */
function framed(body: ResponseRequest) {
  const head = { id: newId('resp'), object: 'response', created_at: now() }
  return (status: string, output: unknown[], end?: EndEvent) => ({
    ...head,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body.metadata ?? {},
    model: body.model,
    output,
    parallel_tool_calls: false,
    previous_response_id: null,
    store: false,
    temperature: body.temperature ?? 1,
    text: { format: body.text?.format ?? { type: 'text' } },
    tool_choice: body.tool_choice ?? (body.tools?.length ? 'auto' : 'none'),
    tools: body.tools ?? [],
    top_p: body.top_p ?? 1,
    truncation: 'disabled',
    usage: end
      ? {
          input_tokens: end.usage.promptTokens,
          input_tokens_details: { cached_tokens: 0 },
          output_tokens: end.usage.completionTokens,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: end.usage.promptTokens + end.usage.completionTokens,
        }
      : null,
  })
}

/** A piece of output that is being written: the events of its beginning, of its end, and what it is then. */
interface Open {
  /** Which call it is; undefined for a message. */
  readonly call?: number
  take(event: TokenEvent | EndEvent): Iterable<Told>
  done(status: string): { told: Iterable<Told>; item: object }
}

/** A message; `logprobs` says whether those of its tokens are told. */
function* openMessage(output_index: number, logprobs: boolean): Generator<Told, Open> {
  const id = newId('msg')
  const place = { item_id: id, output_index, content_index: 0 }
  const tokens: TokenEvent[] = []
  let text = ''
  const item = (content: unknown[], status: string) => ({ id, type: 'message', role: 'assistant', status, content })
  const part = () => ({ type: 'output_text', text, annotations: [], logprobs: tokens.map(logprobOf) })
  yield ['response.output_item.added', { output_index, item: item([], 'in_progress') }]
  yield ['response.content_part.added', { ...place, part: part() }]
  return {
    *take(event) {
      text += event.text
      const told = logprobs && event.type === 'token' ? [logprobOf(event)] : []
      if (logprobs && event.type === 'token') tokens.push(event)
      if (event.text !== '' || told.length > 0)
        yield ['response.output_text.delta', { ...place, delta: event.text, logprobs: told }]
    },
    done(status) {
      const whole = item([part()], status)
      return {
        item: whole,
        told: [
          ['response.output_text.done', { ...place, text, logprobs: tokens.map(logprobOf) }],
          ['response.content_part.done', { ...place, part: part() }],
          ['response.output_item.done', { output_index, item: whole }],
        ],
      }
    },
  }
}

/** A call of a function. */
function* openCall(output_index: number, first: NonNullable<TokenEvent['call']>): Generator<Told, Open> {
  const id = newId('fc')
  const { id: call_id = newId('call'), name = '' } = first
  const item = (given: string, status: string) => ({
    id,
    type: 'function_call',
    status,
    call_id,
    name,
    arguments: given,
  })
  const place = { item_id: id, output_index }
  let given = ''
  yield ['response.output_item.added', { output_index, item: item('', 'in_progress') }]
  return {
    call: first.index,
    *take(event) {
      const delta = (event.type === 'token' && event.call?.arguments) || ''
      given += delta
      if (delta !== '') yield ['response.function_call_arguments.delta', { ...place, delta }]
    },
    done(status) {
      const whole = item(given, status)
      return {
        item: whole,
        told: [
          ['response.function_call_arguments.done', { ...place, name, arguments: given }],
          ['response.output_item.done', { output_index, item: whole }],
        ],
      }
    },
  }
}

/** A response as it comes to be, change by change; the last one holds all of it. */
export async function* responseEvents(body: ResponseRequest, events: Begun, logprobs: boolean): AsyncGenerator<Told> {
  const response = framed(body)
  const output: object[] = []
  let open: Open | undefined
  let end: EndEvent | undefined
  function* close(status: string): Generator<Told> {
    if (!open) return
    const { told, item } = open.done(status)
    output.push(item)
    open = undefined
    yield* told
  }
  yield ['response.created', { response: response('in_progress', []) }]
  yield ['response.in_progress', { response: response('in_progress', []) }]
  for await (const { item: event } of events) {
    if (event.type === 'end') end = event
    const call = event.type === 'token' ? event.call : undefined
    const silent = event.type === 'end' && event.text === '' && (open || output.length > 0)
    if (!silent && (!open || open.call !== call?.index)) {
      yield* close('completed')
      open = yield* call ? openCall(output.length, call) : openMessage(output.length, logprobs)
    }
    if (open) yield* open.take(event)
  }
  const status = statusOf(end!)
  yield* close(status)
  yield [`response.${status}`, { response: response(status, output, end) }]
}
