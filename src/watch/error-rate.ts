import type { Alerts } from './alerts.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics/metrics.ts'

const EVERY = 10_000
/** Looks that a minute has. */
const SPAN = 6
/** Requests of the last minute from which on their failures are judged, and the share that may fail. */
const ENOUGH = 20
const LEVEL = 0.05

/** Compares the requests that failed in the last minute with all of it, model by model, every ten seconds. */
export function watchErrors(metrics: Metrics, alerts: Alerts, log: Log): NodeJS.Timeout {
  const history = new Map<string, { answered: number; failed: number }[]>()
  return setInterval(() => {
    const known = [...metrics.series].filter(({ model }) => model !== '')
    for (const [model, series] of Map.groupBy(known, (one) => one.model)) {
      const totals = {
        answered: series.reduce((sum, one) => sum + one.answered, 0),
        failed: series.reduce((sum, one) => sum + one.failed, 0),
      }
      const seen = [...(history.get(model) ?? [{ answered: 0, failed: 0 }]), totals].slice(-SPAN - 1)
      history.set(model, seen)
      const failed = totals.failed - seen[0].failed
      const all = failed + totals.answered - seen[0].answered
      const value = failed / Math.max(1, all)
      const message = `${model}: ${failed} of ${all} requests of the last minute failed`
      const found = all >= ENOUGH && value > LEVEL ? { message, value, level: LEVEL } : undefined
      alerts.set({ rule: 'errors', model, version: 0 }, found).catch((error) => log.error('alert.unsaved', error))
    }
  }, EVERY).unref()
}
