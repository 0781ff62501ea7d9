import { fail } from '../../base/errors.ts'
import { checkName } from '../../base/ids.ts'
import type { AlertRules, StoredRule } from '../../store/alert-rules.ts'
import { type Alerts, alertRules } from '../alerts.ts'
import { type History, type Span, startOf } from '../history/history.ts'
import type { Log } from '../log.ts'
import type { Machine } from '../resources/machine.ts'
import { type Counted, judgeRule } from './judge.ts'
import { type Condition, parseRule } from './rule.ts'

const EVERY = 10_000
/** Rules of objectives read three days of history: once a minute is enough. */
const BURN_EVERY = 60_000
/** Rules that can be set. */
const MOST = 200

/** What holds without being set. */
const builtIn: readonly StoredRule[] = [{ name: 'errors', rule: 'errors > 5% over 1m', createdAt: '' }]

interface Around {
  alerts: Alerts
  history: History
  log: Log
  machine: () => Machine
}

/** Looks at the rules every ten seconds and opens and closes their alerts. */
export class Rules {
  readonly #records: AlertRules
  readonly #alerts: Alerts
  readonly #history: History
  readonly #machine: () => Machine
  readonly #timer: NodeJS.Timeout
  #rules: { stored: StoredRule; condition: Condition; judgedAt: number }[] = []
  #looking: Promise<void> = Promise.resolve()

  private constructor(records: AlertRules, { alerts, history, log, machine }: Around) {
    this.#records = records
    this.#alerts = alerts
    this.#history = history
    this.#machine = machine
    this.#timer = setInterval(() => {
      this.look().catch((error: unknown) => log.error('rules.unjudged', error))
    }, EVERY).unref()
  }

  static async load(records: AlertRules, around: Around): Promise<Rules> {
    const rules = new Rules(records, around)
    await rules.#read()
    return rules
  }

  async list(): Promise<StoredRule[]> {
    return this.#rules.map(({ stored }) => stored)
  }

  /** Sets a rule in place of one of its name; throws ALERT_RULE_INVALID or NAME_INVALID. */
  async set({ name, rule, model }: Pick<StoredRule, 'name' | 'rule' | 'model'>): Promise<StoredRule> {
    checkName(name)
    parseRule(rule)
    if (Object.hasOwn(alertRules, name))
      throw fail('ALERT_RULE_INVALID', {
        rule: rule.slice(0, 100),
        reason: `"${name}" is the name of a rule that is always on`,
      })
    if (this.#rules.length >= MOST)
      throw fail('ALERT_RULE_INVALID', { rule: rule.slice(0, 100), reason: `there are ${MOST} rules already` })
    const stored = { name, rule, ...(model !== undefined && { model }), createdAt: new Date().toISOString() }
    await this.#records.put(stored)
    await this.#read()
    return stored
  }

  /** Ends a rule and closes what it opened; throws ALERT_RULE_NOT_FOUND. */
  async delete(name: string) {
    if (!(await this.#records.delete(name))) throw fail('ALERT_RULE_NOT_FOUND', { name: name.slice(0, 80) })
    await this.#read()
    for (const { rule, model, version } of this.#alerts.open)
      if (rule === name) await this.#alerts.set({ rule, model, version })
  }

  /** Judges every rule now; one look follows another. */
  look(): Promise<void> {
    this.#looking = this.#looking.catch(() => undefined).then(() => this.#look())
    return this.#looking
  }

  async close() {
    clearInterval(this.#timer)
    await this.#looking.catch(() => undefined)
  }

  async #look() {
    const now = Date.now()
    const read = new Map<string, ReturnType<Counted>>()
    const counted: Counted = (span, length, ago = 0) => {
      const key = `${span} ${length} ${ago}`
      const known = read.get(key) ?? this.#counted(span, now - ago - length, ago === 0 ? now : startOf(span, now - ago))
      read.set(key, known)
      return known
    }
    const machine = this.#machine()
    for (const one of this.#rules) {
      const { stored, condition, judgedAt } = one
      if (condition.kind === 'burn' && performance.now() - judgedAt < BURN_EVERY) continue
      one.judgedAt = performance.now()
      const findings = await judgeRule(condition, counted, machine)
      const told = new Set<string>()
      for (const { model, met, message, value, level } of findings) {
        if (stored.model !== undefined && model !== '' && stored.model !== model) continue
        told.add(model)
        const found = met ? { message: model === '' ? message : `${model}: ${message}`, value, level } : undefined
        await this.#alerts.set({ rule: stored.name, model, version: 0 }, found)
      }
      // a model that nobody asks any more has nothing wrong with it
      for (const { rule, model, version } of this.#alerts.open)
        if (rule === stored.name && !told.has(model)) await this.#alerts.set({ rule, model, version })
    }
  }

  async #counted(span: Span, since: number, until: number): ReturnType<Counted> {
    const tallies = await this.#history.byModel(span, since, until + 1)
    return { tallies, seconds: (until - startOf(span, since)) / 1000 }
  }

  async #read() {
    const rules = [...builtIn, ...(await this.#records.list())]
    this.#rules = rules.flatMap((stored) => {
      try {
        return [{ stored, condition: parseRule(stored.rule), judgedAt: Number.NEGATIVE_INFINITY }]
      } catch {
        return [] // of a later version of this server
      }
    })
  }
}
