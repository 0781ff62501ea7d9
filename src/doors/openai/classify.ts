import { fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { Type } from '../../base/schema.ts'
import { callerOf, classify } from '../ask.ts'
import { type House, route } from '../route.ts'
import { tag } from './models.ts'
import { listOf, texts } from './schema.ts'

const now = () => Math.floor(Date.now() / 1000)

/** Labels that say there is nothing to object to. */
const harmless =
  /^(ok|okay|safe|none|neutral|clean|normal|benign|harmless|ham|acceptable|(no|not|non)[-_ ].+|正常|安全|无)$/i

/** The classifier that moderates where a request names none: the one with an alias `moderation`. */
async function moderator({ registry }: House): Promise<string> {
  const found = (await registry.list({ task: 'text-classification' })).find(({ aliases }) => 'moderation' in aliases)
  if (found) return `${found.name}@moderation`
  throw fail('BAD_REQUEST', {
    message: 'no model moderates here: name one, or give a classifier the alias "moderation"',
    param: 'model',
  })
}

export const classifyRoutes = [
  route(
    'POST /v1/moderations',
    {
      summary: 'Moderate texts with a classifier that has the alias "moderation", or is named',
      permission: 'use',
      tag,
    },
    {
      body: Type.Object({
        model: Type.Optional(Type.String()),
        input: Type.Unsafe<string | (string | { text: string })[]>({
          type: ['string', 'array'],
          minItems: 1,
          items: {
            type: ['string', 'object'],
            required: ['type', 'text'],
            properties: { type: { const: 'text' }, text: { type: 'string' } },
          },
        }),
      }),
    },
    async (house, call) => {
      const { model, input } = call.body
      const ref = model === undefined || /^(omni|text)-moderation/.test(model) ? await moderator(house) : model
      const given = listOf(input).map((part) => (typeof part === 'string' ? part : part.text))
      const { prediction, ranked } = await classify(callerOf('openai', house, call), ref, given)
      const { labels } = prediction.manifest
      const categories = labels.filter((label) => !harmless.test(label))
      if (categories.length === 0 || categories.length === labels.length) {
        throw fail('BAD_REQUEST', {
          message: `model "${prediction.model}" cannot moderate: its labels (${labels.join(', ').slice(0, 200)}) need one that means nothing is wrong, such as "ok" or "none", and one for each category`,
          param: 'model',
        })
      }
      return {
        id: newId('modr'),
        model: ref,
        results: ranked.map((scores) => {
          const score = Object.fromEntries(scores.map(({ label, score }) => [label, score]))
          const of = <T>(value: (label: string) => T) =>
            Object.fromEntries(categories.map((label) => [label, value(label)]))
          return {
            flagged: categories.some((label) => score[label] >= 0.5),
            categories: of((label) => score[label] >= 0.5),
            category_scores: of((label) => score[label]),
            category_applied_input_types: of(() => ['text']),
          }
        }),
      }
    },
  ),
  route(
    'POST /classify',
    { summary: 'Classify texts (as vLLM)', permission: 'use', tag },
    { body: Type.Object({ model: Type.String(), input: texts({ minItems: 1 }) }) },
    async (house, call) => {
      const { model, input } = call.body
      const { prediction, ranked } = await classify(callerOf('openai', house, call), model, listOf(input))
      const { labels } = prediction.manifest
      return {
        id: newId('classify'),
        object: 'list',
        created: now(),
        model,
        data: ranked.map((scores, index) => ({
          index,
          label: scores[0].label,
          probs: labels.map((label) => scores.find((one) => one.label === label)!.score),
          num_classes: labels.length,
        })),
      }
    },
  ),
]
