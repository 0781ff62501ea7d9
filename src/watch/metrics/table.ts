import { ownNames } from './own.ts'
import type { Metric } from './readers.ts'
import { tritonNames } from './triton.ts'
import { vllmNames } from './vllm.ts'

/** Every metric of the server: views on what was counted once. Documentation, dashboard and tests derive from it. */
export const metricTable: readonly Metric[] = [...ownNames, ...tritonNames, ...vllmNames]
