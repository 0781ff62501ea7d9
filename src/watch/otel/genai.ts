import type { Manifest } from '../../bundle/manifest.ts'
import type { Buckets } from '../metrics/buckets.ts'
import type { Metric } from '../metrics/readers.ts'
import type { Series } from '../metrics/series.ts'
import type { Served } from '../metrics/served.ts'
import type { Attributes } from './encode.ts'

/**
 * Names of OpenTelemetry's conventions for generative AI (open-telemetry/semantic-conventions-genai; they are in
 * development, so all of them are here).
 */
const operations: Partial<Record<Manifest['task'], string>> = {
  'text-generation': 'text_completion',
  'feature-extraction': 'embeddings',
}
const PROVIDER = 'athanor'

const labels = ['gen_ai.operation.name', 'gen_ai.provider.name', 'gen_ai.request.model', 'gen_ai.response.model']

const histogram = (
  name: string,
  help: string,
  unit: string,
  of: (series: Series) => readonly (readonly [Buckets, ...string[]])[],
  more: readonly string[] = [],
): Metric => ({
  name,
  kind: 'histogram',
  help,
  unit,
  labels: [...labels, 'athanor.door', ...more],
  read: ({ series }) =>
    series.flatMap((one) => {
      const operation = one.task && operations[one.task]
      if (operation === undefined) return []
      const head = [operation, PROVIDER, one.model, `${one.model}@${one.version}`, one.door]
      return of(one).flatMap(([buckets, ...rest]) =>
        buckets.count === 0 ? [] : [[[...head, ...rest], buckets] as const],
      )
    }),
})

/** Metrics of the conventions, read from what is counted anyway. */
export const genaiMetrics: readonly Metric[] = [
  histogram('gen_ai.server.request.duration', 'Time from receiving a request to its answer', 's', (s) => [
    [s.duration],
  ]),
  histogram('gen_ai.server.time_to_first_token', 'Time to the first token', 's', (s) => [[s.firstToken]]),
  histogram('gen_ai.server.time_per_output_token', 'Mean time of the tokens after the first', 's', (s) => [
    [s.perToken],
  ]),
  histogram(
    'gen_ai.client.token.usage',
    'Tokens read and written',
    '{token}',
    (s) => [
      [s.promptLength, 'input'],
      [s.completionLength, 'output'],
    ],
    ['gen_ai.token.type'],
  ),
]

/** Name and attributes of the span of an inference request. */
export function inferenceSpan({ task, model, version, door, rows, timings, written, code, requestId }: Served): {
  name: string
  attributes: Attributes
} {
  const operation = task && operations[task]
  const exact = model === undefined ? undefined : `${model}@${version}`
  return {
    name: `${operation ?? 'infer'} ${model ?? ''}`.trim(),
    attributes: {
      'athanor.request.id': requestId,
      'athanor.door': door,
      'athanor.rows': rows,
      'athanor.batch': timings?.batch,
      'gen_ai.operation.name': operation,
      'gen_ai.provider.name': operation && PROVIDER,
      'gen_ai.request.model': model,
      'gen_ai.response.model': exact,
      'gen_ai.usage.input_tokens': written?.usage.promptTokens,
      'gen_ai.usage.output_tokens': written?.usage.completionTokens,
      'gen_ai.response.finish_reasons': written && [written.finish],
      'gen_ai.response.time_to_first_chunk': written && written.first / 1000,
      'error.type': code,
    },
  }
}
