import { local } from '../access/access.ts'
import type { OpenHouse } from '../doors/houses.ts'
import type { House } from '../doors/route.ts'
import type { Deployments } from '../serve/deployments.ts'
import type { Store } from '../store/store.ts'
import type { Runs } from '../train/runs.ts'
import type { Alerts } from '../watch/alerts.ts'
import { Canary } from '../watch/canary.ts'
import type { Samples } from '../watch/metrics/metrics.ts'
import { readMachine } from '../watch/resources/machine.ts'
import { ownUse, useOf } from '../watch/resources/processes.ts'
import { openCollecting } from './collecting.ts'
import { openRegistry } from './registry.ts'
import { openServing } from './serving.ts'
import type { Shared } from './shared.ts'
import { openTraining } from './training.ts'
import { openWatch } from './watch.ts'

/** Puts the rooms of a tenant together, on a store that `close` closes. */
export async function openHouse(shared: Shared, tenant: string, store: Store): Promise<OpenHouse> {
  const { config, access, url, canaries, telemetry } = shared
  const watch = await openWatch(shared, store)
  const { log, metrics, history, requestLog, alerts } = watch.parts
  const registered = await openRegistry(shared, store, log)
  const { registry } = registered.parts
  const training = await openTraining(store, registry, log)
  const collecting = openCollecting(shared, { registry, runs: training.parts.runs }, log)
  const serving = await openServing(shared, store, registry, watch.parts)
  const { deployments } = serving.parts
  const canary = new Canary(() => deployments.engines)
  canaries.push(canary)
  const samples = () => sample({ deployments, runs: training.parts.runs, alerts, home: store.home })
  telemetry?.add(tenant, async () => metrics.state(await samples()))
  const house: House = {
    tenant,
    who: access.inTenant(local, tenant),
    access,
    config,
    store,
    ...registered.parts,
    ...training.parts,
    ...serving.parts,
    ...watch.parts,
    observe(served) {
      metrics.observe(served)
      history.observe(served)
      canary.observe(served)
      telemetry?.observe(served)
      requestLog.observe(served)
    },
    samples,
    telemetry,
    health: async () => (await Promise.all(canaries.map((one) => one.check()))).flat(),
    startedAt: performance.now(),
    url,
  }
  serving.loadPinned()
  return {
    house,
    stop: training.close,
    async close() {
      await collecting.close()
      await serving.close()
      await registered.close()
      await watch.close()
      await store.close()
    },
  }
}

/** What the server, its engines and the machine use now. */
async function sample({
  deployments,
  runs,
  alerts,
  home,
}: {
  deployments: Deployments
  runs: Runs
  alerts: Alerts
  home: string
}): Promise<Samples> {
  return {
    engines: (await deployments.list()).map(({ pid, ...engine }) => {
      const use = pid === undefined ? undefined : useOf(pid)
      return { ...engine, ...(use && { use }) }
    }),
    activeRuns: runs.active,
    openAlerts: countBy(alerts.open, ({ rule }) => rule),
    server: ownUse(),
    machine: readMachine(home),
  }
}

function countBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, number> {
  return new Map([...Map.groupBy(items, keyOf)].map(([key, group]) => [key, group.length]))
}
