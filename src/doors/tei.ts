import { fail } from '../base/errors.ts'
import { Type } from '../base/schema.ts'
import { version as code } from '../base/version.ts'
import { type Caller, callerOf, classify, findModel } from './ask.ts'
import type { Door } from './door.ts'
import { route } from './route.ts'
import { embed, likeness, ranking, relevance, unit } from './vectors.ts'

const tag = 'text embeddings inference'
const ByModel = Type.Object({ model: Type.String() })

type Body = Record<string, unknown>

/** A list of texts in a body's field; one text counts as a list where `single` says so. Throws BAD_REQUEST. */
function textsOf(value: unknown, field: string, single = false): string[] {
  const list = single && typeof value === 'string' ? [value] : value
  if (!Array.isArray(list) || list.length === 0 || list.some((text) => typeof text !== 'string'))
    throw fail('BAD_REQUEST', { message: `${field}: expected ${single ? 'a text or ' : ''}a list of texts` })
  return list as string[]
}

function textOf(value: unknown, field: string): string {
  if (typeof value === 'string') return value
  throw fail('BAD_REQUEST', { message: `${field}: expected a text` })
}

/** Second texts, if these are pairs; throws BAD_REQUEST where only some are. */
function pairsOf(rows: readonly string[][]): string[] | undefined {
  if (rows.every(({ length }) => length === 1)) return undefined
  if (rows.every(({ length }) => length === 2)) return rows.map(([, pair]) => pair)
  throw fail('BAD_REQUEST', { message: 'inputs: expected single texts or pairs, not both' })
}

const summaries = {
  embed: 'Vectors of texts',
  similarity: 'How like sentences are to one',
  rerank: 'Rank texts by their likeness to a query',
}

const actions = {
  async embed(caller: Caller, model: string, { inputs, normalize, dimensions }: Body) {
    if (
      dimensions !== undefined &&
      dimensions !== null &&
      !(Number.isInteger(dimensions) && (dimensions as number) > 0)
    )
      throw fail('BAD_REQUEST', { message: 'dimensions: expected a whole number from 1' })
    const { vectors } = await embed(caller, model, textsOf(inputs, 'inputs', true), dimensions as number | undefined)
    return vectors.map((vector) => Array.from(normalize === false ? vector : unit(vector.slice())))
  },
  async similarity(caller: Caller, model: string, { inputs }: Body) {
    const { source_sentence: source, sentences } = (inputs ?? {}) as Body
    const given = textsOf(sentences, 'inputs.sentences')
    return (await likeness(caller, model, textOf(source, 'inputs.source_sentence'), given)).scores
  },
  async rerank(caller: Caller, model: string, { query, texts, return_text: shown, raw_scores: raw }: Body) {
    const given = textsOf(texts, 'texts')
    const asked = textOf(query, 'query')
    const pairs = given.map((text) => [asked, text] as const)
    const { scores } = await relevance(caller, model, pairs, raw === true)
    return ranking(scores).map(({ index, score }) => ({ index, score, ...(shown === true && { text: given[index] }) }))
  },
}

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
          items: { type: ['string', 'array'], items: { type: 'string' }, minItems: 1, maxItems: 2 },
        }),
        raw_scores: Type.Optional(Type.Literal(false)),
        truncate: Type.Optional(Type.Unsafe<boolean | null>({ type: ['boolean', 'null'] })),
      }),
    },
    async (house, call) => {
      const { inputs } = call.body
      const rows =
        typeof inputs === 'string' ? [[inputs]] : inputs.map((one) => (typeof one === 'string' ? [one] : one))
      const pairs = pairsOf(rows)
      const caller = { ...callerOf('tei', house, call), ...(pairs && { pairs }) }
      const texts = rows.map(([text]) => text)
      const { ranked } = await classify(caller, call.params.model, texts)
      const scores = ranked.map((list) => list.map(({ label, score }) => ({ score, label })))
      return typeof inputs === 'string' ? scores[0] : scores
    },
  ),
  ...(['embed', 'similarity', 'rerank'] as const).map((action) =>
    route(
      `POST /tei/:model/${action}`,
      { summary: summaries[action], permission: 'use', tag },
      { params: ByModel, body: Type.Record(Type.String(), Type.Unknown()) },
      async (house, call) => actions[action](callerOf('tei', house, call), call.params.model, call.body),
    ),
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
                [manifest.pipeline?.pairs === true ? 'reranker' : 'classifier']: {
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
