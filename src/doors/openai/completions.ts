import { newId } from '../../base/ids.ts'
import { Type } from '../../base/schema.ts'
import type { TokenChance } from '../../engine/messages.ts'
import { callerOf } from '../ask.ts'
import { route } from '../route.ts'
import { beginAll, finishOf, now, refuse, sampling, settingsOf, type TokenEvent, UsageSum } from './generation.ts'
import { tag } from './models.ts'
import { boolean, integer, TextsOrIds, text, textsOrIds } from './schema.ts'
import { gather, sendChunks } from './stream.ts'

/** How long a text gets when the request does not say: so few, as OpenAI has it. */
const DEFAULT_TOKENS = 16

const Body = Type.Object({
  ...sampling,
  prompt: TextsOrIds,
  best_of: integer({ minimum: 1, maximum: 20 }),
  echo: boolean(),
  logprobs: integer({ minimum: 0, maximum: 20 }),
  suffix: text(),
})

const tokenText = ({ bytes, text }: Pick<TokenChance, 'bytes' | 'text'>) =>
  bytes.length > 0 ? Buffer.from(bytes).toString('utf8') : text

/** Log-probabilities as plain completions have them: parallel lists. `offset` is where the tokens begin in the text. */
function logprobsOf(tokens: readonly TokenEvent[], offset: number) {
  const texts = tokens.map(({ bytes = [], text }) => tokenText({ bytes, text }))
  let at = offset
  return {
    tokens: texts,
    token_logprobs: tokens.map(({ logprob = 0 }) => logprob),
    top_logprobs: tokens.map(({ top = [] }) => Object.fromEntries(top.map((one) => [tokenText(one), one.logprob]))),
    text_offset: texts.map((one) => {
      at += one.length
      return at - one.length
    }),
  }
}

export const completionRoutes = [
  route(
    'POST /v1/completions',
    { summary: 'Continue a text, at once or as a stream', permission: 'use', tag },
    { body: Body },
    async (house, call) => {
      const { body } = call
      const n = body.n ?? 1
      const prompts: readonly (string | number[])[] = textsOrIds(body.prompt, 'prompt')
      if (body.echo && prompts.some((prompt) => typeof prompt === 'object')) throw refuse('echo', 'token ids as text')
      if (body.suffix) throw refuse('suffix', 'a suffix')
      if (typeof body.best_of === 'number' && body.best_of !== n)
        throw refuse('best_of', 'choosing the best of several')
      const logprobs = body.logprobs ?? undefined
      if (body.echo && logprobs !== undefined) throw refuse('echo', 'logprobs of the prompt')
      const settings = settingsOf(body, body.max_tokens ?? DEFAULT_TOKENS, logprobs)
      const inputs = prompts.map((prompt) => ({ ...settings, prompt, whole: body.stream !== true }))
      const caller = callerOf('openai', house, call)
      const { version, events, count } = await beginAll(caller, body.model, inputs, n)
      const usage = new UsageSum(n)
      const head = {
        id: newId('cmpl'),
        object: 'text_completion',
        created: now(),
        model: body.model,
        system_fingerprint: `${version.name}@${version.version}`,
      }
      const echo = (index: number) => (body.echo ? (prompts[Math.floor(index / n)] as string) : '')

      if (body.stream) {
        const offsets = Array.from({ length: count }, () => 0)
        const choice = (index: number, text: string, rest: { token?: TokenEvent; finish?: string } = {}) => [
          {
            index,
            text,
            logprobs: logprobs !== undefined && rest.token ? logprobsOf([rest.token], offsets[index]) : null,
            finish_reason: rest.finish ?? null,
          },
        ]
        async function* choices() {
          if (body.echo) for (let index = 0; index < count; index++) yield choice(index, echo(index))
          for await (const { index, item } of events) {
            if (item.type === 'token') {
              if (item.text !== '' || logprobs !== undefined) yield choice(index, item.text, { token: item })
              offsets[index] += tokenText({ bytes: item.bytes ?? [], text: item.text }).length
              continue
            }
            usage.add(index, item)
            yield choice(index, item.text, { finish: finishOf(item) })
          }
        }
        return sendChunks(call, head, choices(), body.stream_options?.include_usage ? usage : undefined)
      }

      const choices = await gather(events, count, usage, logprobs !== undefined)
      return {
        ...head,
        choices: choices.map(({ text, tokens, finish }, index) => ({
          index,
          text: echo(index) + text,
          logprobs: logprobs === undefined ? null : logprobsOf(tokens, 0),
          finish_reason: finish,
        })),
        usage: usage.value,
      }
    },
  ),
]
