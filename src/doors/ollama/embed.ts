import { Type } from '../../base/schema.ts'
import { askRef } from '../../serve/deployments.ts'
import { callerOf } from '../ask.ts'
import { route } from '../route.ts'
import { embed, unit } from '../vectors.ts'
import { findNamed } from './names.ts'

const tag = 'ollama'

export const embedRoutes = [
  route(
    'POST /ollama/api/embed',
    { summary: 'Vectors of texts', permission: 'use', tag },
    {
      body: Type.Object({
        model: Type.String(),
        input: Type.Unsafe<string | string[]>({ type: ['string', 'array'], items: { type: 'string' }, minItems: 1 }),
        dimensions: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_536 })),
        truncate: Type.Optional(Type.Boolean()),
      }),
    },
    async (house, call) => {
      const { model, input, dimensions } = call.body
      const ref = askRef(await findNamed(house, model))
      const started = performance.now()
      const texts = typeof input === 'string' ? [input] : input
      const { vectors, tokens } = await embed(callerOf('ollama', house, call), ref, texts, dimensions)
      return {
        model,
        embeddings: vectors.map((vector) => Array.from(unit(vector.slice()))),
        total_duration: Math.round((performance.now() - started) * 1e6),
        load_duration: 0,
        prompt_eval_count: tokens,
      }
    },
  ),
  route(
    'POST /ollama/api/embeddings',
    { summary: 'The vector of a text (older clients)', permission: 'use', tag },
    { body: Type.Object({ model: Type.String(), prompt: Type.String() }) },
    async (house, call) => {
      const ref = askRef(await findNamed(house, call.body.model))
      const { vectors } = await embed(callerOf('ollama', house, call), ref, [call.body.prompt])
      return { embedding: Array.from(vectors[0]) }
    },
  ),
]
