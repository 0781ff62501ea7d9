import { enginesFolder } from '../base/config.ts'
import { Egress } from '../base/egress.ts'
import { fail } from '../base/errors.ts'
import type { Registry } from '../registry/registry.ts'
import { Deployments } from '../serve/deployments.ts'
import { Engines } from '../serve/engines.ts'
import { Rollouts } from '../serve/rollouts.ts'
import { followChanges } from '../store/revision.ts'
import { RolloutRecords } from '../store/rollouts.ts'
import { Secrets } from '../store/secrets.ts'
import type { Store } from '../store/store.ts'
import type { Drift } from '../watch/drift.ts'
import type { Log } from '../watch/log.ts'
import type { Metrics } from '../watch/metrics/metrics.ts'
import type { Shared } from './shared.ts'

interface Watched {
  readonly log: Log
  readonly drift: Drift
  readonly metrics: Metrics
}

/** The engines of a tenant and what they answer for; what happens to them is told to those who watch. */
export async function openServing(
  { config, memory, spare }: Shared,
  store: Store,
  registry: Registry,
  { log, drift, metrics }: Watched,
) {
  const outside = {
    egress: new Egress(config.allowedHosts),
    secrets: new Secrets(store.home),
    engines: enginesFolder(config),
    ...(spare && { spare }),
  }
  const rollouts = await Rollouts.open(new RolloutRecords(store), registry)
  const engines = new Engines(registry, { keepAlive: config.keepAlive, memory, outside })
  const deployments = new Deployments({ registry, config, rollouts, engines })
  rollouts.onChange = (model, { who, what, detail }) => {
    log.info('deployment.changed', { model, message: `${model}: ${what} ${detail} (${who})` })
  }
  rollouts.onError = (error) => log.error('deployment.unkept', error)
  deployments.onWindow = (version, window) => {
    drift.observe(version, window).catch((error) => log.error('drift.unjudged', error, { model: version.name }))
  }
  deployments.onCrash = ({ name, version }, reason) => {
    metrics.crashed(name, version)
    log.error('engine.crashed', fail('ENGINE_CRASHED', { name }, { cause: reason }), { model: name, version })
  }
  const following = store.shared
    ? followChanges(store, async () => {
        await rollouts.reload()
        registry.onChange()
      })
    : undefined
  return {
    parts: { outside, rollouts, deployments },
    loadPinned() {
      for (const model of rollouts.pinned)
        deployments.load(model).catch((error) => log.error('model.unloaded', error, { model }))
    },
    async close() {
      following?.close()
      await deployments.close()
      await rollouts.close()
    },
  }
}
