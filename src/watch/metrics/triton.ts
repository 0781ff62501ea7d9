import type { ErrorCode } from '../../base/errors.ts'
import type { Buckets } from './buckets.ts'
import {
  answering,
  byEngine,
  byKey,
  byVersion,
  counter,
  gauge,
  type Metric,
  type Of,
  type Sample,
  version,
} from './readers.ts'
import type { Series } from './series.ts'
import type { State } from './state.ts'

const triton = (of: Of) => byVersion(of, answering)
const us = (of: (series: Series) => Buckets) => triton((series) => Math.round(of(series).sum * 1e6))

const reasons: Partial<Record<ErrorCode, string>> = {
  OVERLOADED: 'REJECTED',
  DEADLINE_EXCEEDED: 'CANCELED',
  ENGINE_CRASHED: 'BACKEND',
  MODEL_NOT_READY: 'BACKEND',
  INTERNAL: 'BACKEND',
}

type Gpu = State['machine']['gpus'][number]
const byGpu =
  (of: (gpu: Gpu) => number | undefined): Metric['read'] =>
  ({ machine }) =>
    machine.gpus.flatMap((gpu): Sample[] => {
      const value = of(gpu)
      return value === undefined ? [] : [[[gpu.uuid], value]]
    })

/** Triton's names, for models that answer at once: https://github.com/triton-inference-server/server, docs/user_guide/metrics.md. */
export const tritonNames: readonly Metric[] = [
  counter(
    'nv_inference_request_success',
    'Requests answered',
    version,
    triton((s) => s.answered),
  ),
  counter(
    'nv_inference_request_failure',
    'Requests that failed, by reason',
    [...version, 'reason'],
    byKey(
      (s) => s.codes,
      (code) => reasons[code as ErrorCode] ?? 'OTHER',
      answering,
    ),
  ),
  counter(
    'nv_inference_count',
    'Rows answered',
    version,
    triton((s) => s.rows),
  ),
  counter(
    'nv_inference_exec_count',
    'Batches run since the engine was loaded',
    version,
    byEngine(({ stats }) => stats?.batches),
  ),
  counter(
    'nv_inference_request_duration_us',
    'Time of requests from end to end',
    version,
    us((s) => s.duration),
  ),
  counter(
    'nv_inference_queue_duration_us',
    'Time of requests in the queue',
    version,
    us((s) => s.queue),
  ),
  counter(
    'nv_inference_compute_input_duration_us',
    'Time to make inputs ready',
    version,
    us((s) => s.pre),
  ),
  counter(
    'nv_inference_compute_infer_duration_us',
    'Time to run the graph',
    version,
    us((s) => s.run),
  ),
  counter(
    'nv_inference_compute_output_duration_us',
    'Time to take answers out',
    version,
    us((s) => s.post),
  ),
  gauge(
    'nv_inference_pending_request_count',
    'Requests waiting for or in the engine',
    version,
    byEngine(({ waiting }) => waiting),
  ),
  gauge(
    'nv_gpu_utilization',
    'Share of time that the GPU was busy, 0 to 1',
    ['gpu_uuid'],
    byGpu(({ utilization }) => utilization),
  ),
  gauge(
    'nv_gpu_memory_total_bytes',
    'Memory of the GPU',
    ['gpu_uuid'],
    byGpu(({ memory }) => memory),
  ),
  gauge(
    'nv_gpu_memory_used_bytes',
    'Memory of the GPU in use',
    ['gpu_uuid'],
    byGpu(({ memoryUsed }) => memoryUsed),
  ),
  gauge(
    'nv_gpu_power_usage',
    'Power the GPU takes, in watts',
    ['gpu_uuid'],
    byGpu(({ watts }) => watts),
  ),
]
