import { refinement } from '../refine/refinement.ts'
import type { Registry } from '../registry/registry.ts'
import { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import { Transfers } from '../store/transfers.ts'
import { Runs } from '../train/runs.ts'
import type { Log } from '../watch/log.ts'

/** The data sets of a tenant and the runs on them. */
export async function openTraining(store: Store, registry: Registry, log: Log) {
  const datasets = new Datasets(store)
  const runs = await Runs.open(store, registry, refinement(registry, datasets))
  runs.onFailure = (run, error) => log.error('run.failed', error, { requestId: run })
  return { parts: { datasets, transfers: new Transfers(store.home), runs }, close: () => runs.close() }
}
