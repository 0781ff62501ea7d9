import type { Registry } from '../registry/registry.ts'
import { collectRegularly } from '../registry/retention.ts'
import type { Runs } from '../train/runs.ts'
import type { Log } from '../watch/log.ts'
import type { Shared } from './shared.ts'

/** Removes what a tenant has deleted, and what its failed runs have left, long enough ago. */
export function openCollecting({ config }: Shared, { registry, runs }: { registry: Registry; runs: Runs }, log: Log) {
  const days = config.retentionDays
  const collect = async () => ({ runs: await runs.collect(days), ...(await registry.collectGarbage({ days })) })
  return collectRegularly(collect, config.collectEvery, {
    done: ({ versions, runs, blobs, bytes }) => {
      if (versions + runs + blobs > 0)
        log.info('registry.collected', {
          message: `${versions} versions, files of ${runs} runs, ${blobs} files, ${bytes} bytes`,
        })
    },
    failed: (error) => log.error('registry.uncollected', error),
  })
}
