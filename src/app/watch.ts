import { asAthanorError } from '../base/errors.ts'
import { AlertRules } from '../store/alert-rules.ts'
import { AlertRecords } from '../store/alerts.ts'
import { ErrorGroups } from '../store/error-groups.ts'
import { HistoryRows } from '../store/history.ts'
import { LogEntries } from '../store/log.ts'
import { Predictions } from '../store/predictions.ts'
import { LoggedRequests } from '../store/requests.ts'
import type { Store } from '../store/store.ts'
import { Windows } from '../store/windows.ts'
import { Alerts } from '../watch/alerts.ts'
import { Drift } from '../watch/drift.ts'
import { ErrorWatch } from '../watch/errors.ts'
import { Feedback } from '../watch/feedback.ts'
import { History } from '../watch/history/history.ts'
import { Log } from '../watch/log.ts'
import { Metrics } from '../watch/metrics/metrics.ts'
import { redact } from '../watch/requests/redact.ts'
import { RequestLog } from '../watch/requests/request-log.ts'
import { readMachine } from '../watch/resources/machine.ts'
import { Rules } from '../watch/rules/rules.ts'
import type { Shared } from './shared.ts'

/** What is kept and judged of a tenant's requests; closed after everything that tells of them. */
export async function openWatch({ config, webhook }: Shared, store: Store) {
  const metrics = new Metrics()
  const entries = new LogEntries(store)
  const log = new Log(entries, config.logLevel)
  const alerts = await Alerts.load(new AlertRecords(store), log, webhook)
  const keep = config.keepTexts ? (config.redact ? redact : (text: string) => text) : undefined
  const errorWatch = new ErrorWatch(new ErrorGroups(store), (error) =>
    log.warn('errors.unsaved', { message: asAthanorError(error).message }),
  )
  log.onError = (entry) => errorWatch.add(entry)
  const requestLog = new RequestLog(new LoggedRequests(store), log, {
    share: config.logRequests,
    days: config.logDays,
    ...(keep && { keep }),
  })
  const drift = new Drift(new Windows(store), alerts, metrics)
  const feedback = new Feedback(new Predictions(store, config.predictionsKept), alerts, log, keep)
  const history = new History(new HistoryRows(store), log)
  const machine = () => readMachine(store.home)
  const rules = await Rules.load(new AlertRules(store), { alerts, history, log, machine })
  return {
    parts: { metrics, entries, log, alerts, errorWatch, requestLog, drift, feedback, history, rules },
    async close() {
      await rules.close()
      await feedback.close()
      await history.close()
      await requestLog.close()
      await errorWatch.close()
      await alerts.close()
      await log.close()
      metrics.close()
    },
  }
}
