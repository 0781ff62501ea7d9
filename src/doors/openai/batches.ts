import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import { type Batch, Batches } from '../../store/batches.ts'
import { route } from '../route.ts'
import { startBatch } from './batch-run.ts'
import { tag } from './models.ts'
import { page } from './page.ts'
import { anything } from './schema.ts'

const endpoints = ['/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses', '/v1/moderations']
const ByBatch = Type.Object({ batch: Type.String() })

function entry({ id, endpoint, input, status, times, counts, errors, output, errorFile, metadata }: Batch) {
  return {
    id,
    object: 'batch',
    endpoint,
    errors: errors.length > 0 ? { object: 'list', data: errors.map((one) => ({ ...one, param: null })) } : null,
    input_file_id: input,
    completion_window: '24h',
    status,
    output_file_id: output ?? null,
    error_file_id: errorFile ?? null,
    created_at: times.validating,
    in_progress_at: times.in_progress ?? null,
    expires_at: null,
    finalizing_at: times.finalizing ?? null,
    completed_at: times.completed ?? null,
    failed_at: times.failed ?? null,
    expired_at: null,
    cancelling_at: times.cancelling ?? null,
    cancelled_at: times.cancelled ?? null,
    request_counts: counts,
    metadata,
  }
}

export const batchRoutes = [
  route(
    'POST /v1/batches',
    { summary: 'Answer the requests of an uploaded file, one line each', permission: 'use', tag },
    {
      body: Type.Object({
        input_file_id: Type.String(),
        endpoint: Type.String(),
        completion_window: Type.Literal('24h'),
        metadata: anything(),
      }),
    },
    async (house, { body, request }) => {
      const { input_file_id: input, endpoint, metadata } = body
      if (!endpoints.includes(endpoint))
        throw fail('BAD_REQUEST', { message: `endpoint: expected one of ${endpoints.join(', ')}`, param: 'endpoint' })
      const { purpose } = await house.datasets.get(input)
      if (purpose !== 'batch')
        throw fail('BAD_REQUEST', {
          message: `input_file_id: its purpose is ${purpose}, not batch`,
          param: 'input_file_id',
        })
      const batch = await new Batches(house.store).create({
        endpoint,
        input,
        metadata: (metadata ?? {}) as Record<string, string>,
      })
      startBatch(house, request.server, batch.id, request.headers.authorization)
      return entry(batch)
    },
  ),
  route(
    'GET /v1/batches',
    { summary: 'List batches, newest first', permission: 'use', tag },
    {
      querystring: Type.Object({
        after: Type.Optional(Type.String()),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
      }),
    },
    async ({ store }, { query }) => page((await new Batches(store).list()).map(entry), { limit: 20, ...query }),
  ),
  route(
    'GET /v1/batches/:batch',
    { summary: 'Show a batch', permission: 'use', tag },
    { params: ByBatch },
    async ({ store }, { params }) => entry(await new Batches(store).get(params.batch)),
  ),
  route(
    'POST /v1/batches/:batch/cancel',
    { summary: 'End a batch after the requests that are under way; what is answered is kept', permission: 'use', tag },
    { params: ByBatch },
    async ({ store }, { params }) => entry(await new Batches(store).update(params.batch, { status: 'cancelling' })),
  ),
]
