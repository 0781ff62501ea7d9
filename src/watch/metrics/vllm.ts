import { byKey, byVersion, counter, gauge, histogram, type Metric, type Of, type Sample, writing } from './readers.ts'

const vllm = (of: Of) => byVersion(of, writing)
const served = ['model_name', 'engine'] as const

/** vLLM's names, for models that write: https://docs.vllm.ai/en/latest/usage/metrics.html. `engine` is the version. */
export const vllmNames: readonly Metric[] = [
  gauge('vllm:num_requests_running', 'Generations that have begun to write', served, ({ live }) =>
    live.map(({ model, version, running }): Sample => [[model, String(version)], running]),
  ),
  gauge('vllm:num_requests_waiting', 'Generations before their first token', served, ({ live }) =>
    live.map(({ model, version, waiting }): Sample => [[model, String(version)], waiting]),
  ),
  counter(
    'vllm:prompt_tokens_total',
    'Tokens of prompts read',
    served,
    vllm((s) => s.promptTokens),
  ),
  counter(
    'vllm:generation_tokens_total',
    'Tokens written',
    served,
    vllm((s) => s.completionTokens),
  ),
  counter(
    'vllm:request_success_total',
    'Generations that ended, by how',
    [...served, 'finished_reason'],
    byKey(
      (s) => s.finishes,
      (finish) => (finish === 'cancelled' ? 'abort' : finish),
      writing,
    ),
  ),
  histogram(
    'vllm:time_to_first_token_seconds',
    'Time to the first token',
    served,
    vllm((s) => s.firstToken),
  ),
  histogram(
    'vllm:inter_token_latency_seconds',
    'Time between a token and the one before it',
    served,
    vllm((s) => s.betweenTokens),
  ),
  histogram(
    'vllm:request_time_per_output_token_seconds',
    'Mean time of a generation’s tokens after the first',
    served,
    vllm((s) => s.perToken),
  ),
  histogram(
    'vllm:e2e_request_latency_seconds',
    'Time of generations from end to end',
    served,
    vllm((s) => s.duration),
  ),
  histogram(
    'vllm:request_decode_time_seconds',
    'Time of writing after the first token',
    served,
    vllm((s) => s.decode),
  ),
  histogram(
    'vllm:request_prompt_tokens',
    'Tokens of a prompt',
    served,
    vllm((s) => s.promptLength),
  ),
  histogram(
    'vllm:request_generation_tokens',
    'Tokens of a text',
    served,
    vllm((s) => s.completionLength),
  ),
]
