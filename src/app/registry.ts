import { Registry } from '../registry/registry.ts'
import { Webhooks } from '../registry/webhooks.ts'
import { Artifacts } from '../store/artifacts.ts'
import type { Store } from '../store/store.ts'
import { Tracking } from '../store/tracking.ts'
import type { Log } from '../watch/log.ts'
import type { Shared } from './shared.ts'

/** What a tenant has registered, who is told of changes, and what MLflow's clients keep beside it. */
export async function openRegistry({ config }: Shared, store: Store, log: Log) {
  const registry = new Registry(store)
  await registry.indexMissing()
  const webhooks = new Webhooks(store, {
    allowedHosts: config.allowedHosts,
    onGivenUp: (url, event) => log.warn('webhook.unsent', { message: `${url} did not take ${event}` }),
  })
  return {
    parts: { registry, webhooks, tracking: new Tracking(store), artifacts: new Artifacts(store) },
    close: () => webhooks.close(),
  }
}
