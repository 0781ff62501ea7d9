import { Type } from 'typebox'
import { version as code } from '../base/version.ts'
import { callerOf, classify, findModel } from './ask.ts'
import type { Door } from './door.ts'
import { route } from './route.ts'

const tag = 'text embeddings inference'
const ByModel = Type.Object({ model: Type.String() })

const routes = [
  route(
    'POST /tei/:model/predict',
    { summary: 'Classify texts', permission: 'use', tag },
    {
      params: ByModel,
      body: Type.Object({
        inputs: Type.Unsafe<string | (string | string[])[]>({
          type: ['string', 'array'],
          minItems: 1,
          items: { type: ['string', 'array'], items: { type: 'string' }, minItems: 1, maxItems: 1 },
        }),
        raw_scores: Type.Optional(Type.Literal(false)),
        truncate: Type.Optional(Type.Unsafe<boolean | null>({ type: ['boolean', 'null'] })),
      }),
    },
    async (house, call) => {
      const { inputs } = call.body
      const texts = typeof inputs === 'string' ? [inputs] : inputs.flat()
      const { ranked } = await classify(callerOf('tei', house, call), call.params.model, texts)
      const scores = ranked.map((list) => list.map(({ label, score }) => ({ score, label })))
      return typeof inputs === 'string' ? scores[0] : scores
    },
  ),
  route(
    'GET /tei/:model/info',
    { summary: 'What the model is and what it takes', permission: 'read', tag },
    { params: ByModel },
    async (house, { params }) => {
      const { name, version, manifest, files } = await findModel(house, params.model)
      const { labels, task } = manifest
      const { config } = house
      const index = (label: string, i: number) => [String(i), label] as const
      return {
        model_id: name,
        model_sha: files.find((file) => file.name === 'model.onnx')?.digest ?? null,
        model_dtype: 'float32',
        model_type:
          task === 'text-classification'
            ? {
                classifier: {
                  id2label: Object.fromEntries(labels.map(index)),
                  label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
                },
              }
            : { [task]: {} },
        max_concurrent_requests: config.queueLimit,
        max_client_batch_size: config.batchLimit,
        auto_truncate: true,
        version: code,
        sha: `${name}@${version}`,
      }
    },
  ),
  route(
    'GET /tei/:model/health',
    { summary: 'Whether the model can be used', permission: 'read', tag },
    { params: ByModel },
    async (house, { params }) => {
      await findModel(house, params.model)
      return {}
    },
  ),
]

const errorTypes: Record<number, string> = { 413: 'Validation', 422: 'Tokenizer', 429: 'Overloaded', 503: 'Unhealthy' }

/** Text Embeddings Inference's routes; a model each, as one such server serves. */
export const tei: Door = {
  name: 'tei',
  prefixes: ['/tei'],
  routes,
  failure: ({ status, message, hint }) => ({
    body: { error: `${message}. ${hint}`, error_type: errorTypes[status] ?? (status < 500 ? 'Validation' : 'Backend') },
  }),
  ownPort: { mount: '/tei/:model', owns: /^\/(embed|embed_all|rerank|predict|similarity|info|health)$/ },
}
