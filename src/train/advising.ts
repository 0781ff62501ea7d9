import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import type { Advice } from './advice.ts'
import { askTrainer } from './asking.ts'
import type { RunSpec } from './events.ts'

/** What is asked: as much of a run as concerns its data. */
export type AdviceRequest = Pick<RunSpec, 'dataset' | 'read' | 'problem' | 'dropUnlabelled'>

/** Looks at a data set in a process of its own and says what to try; throws what reading and cleaning throw. */
export async function adviseOn(
  house: { store: Store; datasets: Datasets },
  spec: AdviceRequest,
  signal: AbortSignal,
): Promise<Advice> {
  return (await askTrainer(house, 'advice', { spec, advise: true }, signal)).advice
}
