import { setTimeout } from 'node:timers/promises'
import { fail } from '../base/errors.ts'
import type { Alert, AlertKey, AlertRecords } from '../store/alerts.ts'
import type { Log } from './log.ts'

/** What is alerted on without being set; rules that people set have names of their own. */
export const alertRules = {
  drift: 'requests differ from the held-out rows of the version',
  estimatedAccuracy: 'the estimated accuracy is 5 points below that on held-out rows',
  accuracy: 'the accuracy by labels sent as feedback is 5 points below that on held-out rows',
  errors: 'more than 5 % of at least 20 requests of the last minute failed by the server’s fault',
} as const

const TRIES = 3
const TIMEOUT = 5_000
const keyOf = ({ rule, model, version }: AlertKey) => `${rule} ${model}@${version}`

const isSilenced = ({ silenced, silencedUntil }: Alert) =>
  silenced && (silencedUntil === undefined || Date.parse(silencedUntil) > Date.now())

/** The address that alerts are posted to; throws OPTION_INVALID when its host is not allowed. */
export function checkWebhook(address: string, allowedHosts: readonly string[]): URL | undefined {
  if (address === '') return undefined
  const invalid = (reason: string) => fail('OPTION_INVALID', { option: 'alertWebhook', reason })
  const url = URL.canParse(address) ? new URL(address) : undefined
  if (!url || !['http:', 'https:'].includes(url.protocol)) throw invalid('expected an http or https address')
  if (!allowedHosts.includes(url.hostname))
    throw invalid(`the host "${url.hostname}" is not among those allowed (ATHANOR_ALLOWED_HOSTS)`)
  return url
}

/** Alerts that are open or were: stored, logged, and posted to a webhook when they open and close. */
export class Alerts {
  readonly #records: AlertRecords
  readonly #log: Log
  readonly #webhook: URL | undefined
  readonly #open = new Map<string, Alert>()
  /** Until when alerts that may close and open again are not told of. */
  readonly #quiet = new Map<string, number>()
  #posting: Promise<unknown> = Promise.resolve()

  private constructor(records: AlertRecords, log: Log, webhook: URL | undefined) {
    this.#records = records
    this.#log = log
    this.#webhook = webhook
  }

  static async load(records: AlertRecords, log: Log, webhook: URL | undefined): Promise<Alerts> {
    const alerts = new Alerts(records, log, webhook)
    for (const alert of await records.list({ open: true, limit: 10_000 })) {
      alerts.#open.set(keyOf(alert), alert)
      if (alert.silencedUntil) alerts.#quiet.set(keyOf(alert), Date.parse(alert.silencedUntil))
    }
    return alerts
  }

  get open(): readonly Alert[] {
    return [...this.#open.values()]
  }

  list(filter: { open?: boolean; limit?: number }): Promise<Alert[]> {
    return this.#records.list(filter)
  }

  /** Opens the alert of a rule if it is not open, with what was found; without, closes it. */
  async set(key: AlertKey, found?: Pick<Alert, 'message' | 'value' | 'level'>) {
    const name = keyOf(key)
    const known = this.#open.get(name)
    const { model, version } = key
    if (found && !known) {
      const alert = await this.#records.open({ ...key, ...found })
      const quiet = this.#quiet.get(name) ?? 0
      if (quiet > Date.now()) await this.#silenced(alert, new Date(quiet).toISOString())
      this.#open.set(name, alert)
      this.#log.warn('alert.opened', { model, version, message: found.message })
      if (!isSilenced(alert)) this.#post({ state: 'open', ...alert })
    } else if (!found && known) {
      await this.#records.close(known.id)
      this.#open.delete(name)
      this.#log.info('alert.closed', { model, version, message: known.message })
      if (!isSilenced(known)) this.#post({ state: 'closed', ...known })
    }
  }

  /**
   * Keeps an alert from being told of again, for good or for so many minutes; then also should it close and open again.
   * Throws ALERT_NOT_FOUND.
   */
  async silence(id: number, minutes?: number) {
    const until = minutes === undefined ? undefined : Date.now() + 60_000 * minutes
    const iso = until === undefined ? undefined : new Date(until).toISOString()
    if (!(await this.#records.silence(id, iso))) throw fail('ALERT_NOT_FOUND', { id })
    const alert = [...this.#open.values()].find((one) => one.id === id)
    if (!alert) return
    if (until !== undefined) this.#quiet.set(keyOf(alert), until)
    await this.#silenced(alert, iso)
  }

  async #silenced(alert: Alert, until: string | undefined) {
    await this.#records.silence(alert.id, until)
    alert.silenced = true
    if (until !== undefined) alert.silencedUntil = until
    else delete alert.silencedUntil
  }

  /** Resolves when what is to be posted has been posted, or given up. */
  async close() {
    await this.#posting
  }

  #post(body: object) {
    if (!this.#webhook) return
    const url = this.#webhook
    this.#posting = this.#posting.then(async () => {
      for (let attempt = 1; attempt <= TRIES; attempt++) {
        try {
          const response = await fetch(url, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
            redirect: 'error', // an answer must not lead to a host that is not allowed
            signal: AbortSignal.timeout(TIMEOUT),
          })
          await response.body?.cancel()
          if (response.ok) return
        } catch {
          // tried again below
        }
        if (attempt < TRIES) await setTimeout(500 * 2 ** attempt, undefined, { ref: false })
      }
      this.#log.warn('alert.unsent', { message: 'the webhook did not take an alert' })
    })
  }
}
