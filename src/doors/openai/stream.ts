import type { FastifyReply, FastifyRequest } from 'fastify'
import { asAthanorError } from '../../base/errors.ts'
import { openEvents } from '../sse.ts'
import { openaiFailure } from './failure.ts'
import { type beginAll, finishOf, type TokenEvent, type UsageSum } from './generation.ts'
import { Calls } from './tools.ts'

type Begun = Awaited<ReturnType<typeof beginAll>>['events']

/**
 * Sends a chunk for each list of choices as `data:` events, last the usage where it is wanted, and closes with `[DONE]`; an
 * error on the way is the last event.
 */
export async function sendChunks(
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
  head: object,
  choices: AsyncIterable<readonly unknown[]>,
  usage: UsageSum | undefined,
) {
  const out = openEvents(request, reply)
  const send = (chunk: object) => out.write(`data: ${JSON.stringify(chunk)}\n\n`)
  try {
    for await (const some of choices) await send({ ...head, choices: some, ...(usage && { usage: null }) })
    if (usage) await send({ ...head, choices: [], usage: usage.value })
    await out.write('data: [DONE]\n\n')
  } catch (error) {
    await send(openaiFailure(asAthanorError(error)).body as object)
  } finally {
    out.end()
  }
}

/** What came of each of `count` texts when all are written; their tokens where log-probabilities are wanted. */
export async function gather(events: Begun, count: number, usage: UsageSum, logprobs: boolean) {
  const written = Array.from({ length: count }, () => ({
    text: '',
    tokens: [] as TokenEvent[],
    calls: new Calls(),
    finish: 'stop',
  }))
  for await (const { index, item } of events) {
    const one = written[index]
    one.text += item.text
    if (item.type === 'token') {
      one.calls.add(item)
      if (logprobs && !item.call) one.tokens.push(item)
    } else {
      one.finish = finishOf(item)
      usage.add(index, item)
    }
  }
  return written
}
