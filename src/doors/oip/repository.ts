import { findModel } from '../ask.ts'
import type { House } from '../route.ts'

/** Every version with its state; REST and gRPC tell the same. */
export async function repositoryIndex({ registry, deployments }: House) {
  const models = await registry.list()
  const all = await Promise.all(
    models.map(async ({ name }) => (await registry.versions(name)).map(({ version }) => ({ name, version }))),
  )
  return all.flat().map(({ name, version }) => ({
    name,
    version: String(version),
    state: deployments.isLoaded(name, version) ? 'READY' : 'UNAVAILABLE',
    reason: deployments.isLoaded(name, version) ? '' : 'loaded on demand',
  }))
}

/** Figures of a version, or of the newest of every model; executions since its engines were loaded. */
export async function statisticsOf(house: House, ref?: string) {
  const { registry, deployments, metrics } = house
  const found = ref === undefined ? await registry.list() : [await findModel(house, ref)]
  return found.map(({ name, version }) => ({
    ...metrics.statistics(name, version),
    execution_count: deployments.batches(name, version),
  }))
}
