import { fail } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { Type } from '../../base/schema.ts'
import { callerOf } from '../ask.ts'
import { route } from '../route.ts'
import { embed, ranking, relevance } from '../vectors.ts'
import { now } from './generation.ts'
import { tag } from './models.ts'
import { integer, listOf, TextsOrIds, texts, textsOrIds } from './schema.ts'

const usageOf = (tokens: number) => ({ prompt_tokens: tokens, total_tokens: tokens })

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength)

const Documents = Type.Array(Type.Unsafe<string | { text?: string }>({ type: ['string', 'object'] }), {
  minItems: 1,
  maxItems: 1023,
})
const textOf = (document: string | { text?: string }, i: number) => {
  const text = typeof document === 'string' ? document : document.text
  if (typeof text === 'string') return text
  throw fail('BAD_REQUEST', { message: `documents.${i}: expected a text`, param: `documents.${i}` })
}

export const embeddingRoutes = [
  route(
    'POST /v1/embeddings',
    { summary: 'Vectors of texts', permission: 'use', tag },
    {
      body: Type.Object({
        model: Type.String(),
        input: TextsOrIds,
        encoding_format: Type.Optional(Type.Unsafe<'float' | 'base64' | null>({ enum: ['float', 'base64', null] })),
        dimensions: integer({ minimum: 1, maximum: 65_536 }),
      }),
    },
    async (house, call) => {
      const { model, input, encoding_format: format, dimensions } = call.body
      const given = textsOrIds(input, 'input')
      const { vectors, tokens } = await embed(callerOf('openai', house, call), model, given, dimensions)
      return {
        object: 'list',
        data: vectors.map((vector, index) => ({
          object: 'embedding',
          index,
          embedding: format === 'base64' ? bytesOf(vector).toString('base64') : Array.from(vector),
        })),
        model,
        usage: usageOf(tokens),
      }
    },
  ),
  ...['/rerank', '/v1/rerank'].map((path) =>
    route(
      `POST ${path}`,
      { summary: 'Rank documents by their likeness to a query (as vLLM)', permission: 'use', tag },
      {
        body: Type.Object({
          model: Type.String(),
          query: Type.String(),
          documents: Documents,
          top_n: integer({ minimum: 0, maximum: 1024 }),
          return_documents: Type.Optional(Type.Boolean()),
        }),
      },
      async (house, call) => {
        const { model, query, documents, top_n: top, return_documents: shown = true } = call.body
        const given = documents.map(textOf)
        const { tokens, scores } = await relevance(
          callerOf('openai', house, call),
          model,
          given.map((text) => [query, text]),
        )
        return {
          id: newId('rerank'),
          model,
          usage: { total_tokens: tokens },
          results: ranking(scores)
            .slice(0, top || undefined)
            .map(({ index, score }) => ({
              index,
              ...(shown && { document: { text: given[index] } }),
              relevance_score: score,
            })),
        }
      },
    ),
  ),
  ...['/score', '/v1/score'].map((path) =>
    route(
      `POST ${path}`,
      { summary: 'Likeness of pairs of texts (as vLLM)', permission: 'use', tag },
      { body: Type.Object({ model: Type.String(), text_1: texts({ minItems: 1 }), text_2: texts({ minItems: 1 }) }) },
      async (house, call) => {
        const { model, text_1, text_2 } = call.body
        const [left, right] = [listOf(text_1), listOf(text_2)]
        if (left.length !== 1 && left.length !== right.length)
          throw fail('BAD_REQUEST', {
            message: `text_1: expected one text, or as many as text_2 has (${right.length}); got ${left.length}`,
            param: 'text_1',
          })
        const pairs = right.map((text, i) => [left[left.length === 1 ? 0 : i], text] as const)
        const { tokens, scores } = await relevance(callerOf('openai', house, call), model, pairs)
        return {
          id: newId('score'),
          object: 'list',
          created: now(),
          model,
          data: scores.map((score, index) => ({ index, object: 'score', score })),
          usage: usageOf(tokens),
        }
      },
    ),
  ),
]
