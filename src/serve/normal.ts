import { fail } from '../base/errors.ts'
import type { ReadOptions } from '../data/dataset.ts'
import type { Registry } from '../registry/registry.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import { measureOn } from '../train/measuring.ts'
import type { Deployments } from './deployments.ts'

/**
 * Registers the next version of a model: the same files, and rows of a data set as what its requests are compared with, for
 * graphs that were imported. Throws what reading the data throws, and OPTION_INVALID where the rows tell nothing.
 */
export async function learnNormal(
  house: { store: Store; datasets: Datasets; deployments: Deployments; registry: Registry },
  { model, dataset, read }: { model: string; dataset: string; read?: ReadOptions },
  signal: AbortSignal,
): Promise<{ model: string; version: number; rows: number }> {
  const { registry, deployments } = house
  const found = await deployments.resolve(model)
  const { name, version, manifest } = found
  const files = await registry.checkout(found)
  const base = { ref: `${name}@${version}`, manifest, files }
  const { reference } = await measureOn(house, base, { dataset, ...(read && { read }) }, signal, 'reference')
  if (!reference) {
    const reason = `it takes 200 rows of what ${name} is asked (${manifest.task}; for labels one a text)`
    throw fail('OPTION_INVALID', { option: 'dataset', reason })
  }
  const lineage = { ...manifest.lineage, refinedFrom: { model: name, version } }
  const made = await registry.register(
    name,
    { ...manifest, reference, lineage, createdAt: new Date().toISOString() },
    files,
  )
  return { model: name, version: made.version, rows: reference.rows }
}
