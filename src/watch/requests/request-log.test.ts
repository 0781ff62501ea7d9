import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LoggedRequest, LoggedRequests } from '../../store/requests.ts'
import type { Log } from '../log.ts'
import { RequestLog } from './request-log.ts'

/** How many of requests at these milliseconds are logged. */
async function logged(share: number | undefined, times: readonly number[], code?: 'INTERNAL'): Promise<number> {
  const kept: LoggedRequest[] = []
  const requests = { add: async (batch: LoggedRequest[]) => void kept.push(...batch), prune: async () => undefined }
  const log = new RequestLog(requests as unknown as LoggedRequests, {} as Log, { share, days: 1 })
  for (const at of times) log.observe({ requestId: 'req', door: 'native', rows: 1, ms: 1, at, ...(code && { code }) })
  await log.close()
  return kept.length
}

test('a hundred answered requests at once and ten a second are logged, or a share of them; failed ones all', async () => {
  const start = Date.now()
  const busy = Array.from({ length: 900 }, (_, i) => start + 10 * i)
  assert.equal(await logged(undefined, busy), 100 + 89)
  assert.equal(
    await logged(
      undefined,
      Array.from({ length: 50 }, () => start),
    ),
    50,
  )
  const setBack = busy.map((at) => at - 3_600_000)
  assert.equal(await logged(undefined, [...busy, ...setBack]), Math.floor(100 + 2 * 89.9))
  assert.equal(await logged(0.25, busy), 225)
  assert.equal(await logged(0, busy), 0)
  assert.equal(await logged(0, busy, 'INTERNAL'), 900)
})
