import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { wholeNumber } from '../reading.ts'
import { ago } from '../terminal.ts'

export interface AlertOptions {
  all?: boolean
  silence?: string
  minutes?: string
  rules?: boolean
  add?: string
  name?: string
  model?: string
  remove?: string
}

/** Open alerts, or all; or one silenced, or the rules that open them. */
export async function alerts(context: Context, options: AlertOptions) {
  const { client, out } = context
  const { all, silence, minutes, rules, add, remove } = options
  if (silence !== undefined) {
    const id = Number(silence)
    if (!Number.isSafeInteger(id)) throw fail('ALERT_NOT_FOUND', { id: silence.slice(0, 20) })
    await client.silence(id, minutes === undefined ? undefined : wholeNumber('minutes', minutes))
    if (out.json) return out.document({ silenced: id })
    return out.say(`alert ${id} is silenced${minutes === undefined ? '' : ` for ${minutes} minutes`}`)
  }
  if (add !== undefined) return set(context, add, options)
  if (remove !== undefined) {
    await client.alertRules.delete(remove)
    if (out.json) return out.document({ removed: remove })
    return out.say(`rule ${remove} is ended`)
  }
  if (rules) {
    const list = await client.alertRules.list()
    if (out.json) return out.document(list)
    return out.table(
      ['NAME', 'RULE', 'MODEL'],
      list.map(({ name, rule, model }) => [name, rule, model ?? 'each']),
    )
  }
  const list = await client.alerts({ open: !all })
  if (out.json) return out.document(list)
  if (list.length === 0)
    return out.say('no alert is open. Past ones:  athanor alerts --all   ·   rules:  athanor alerts --rules')
  out.table(
    ['ID', 'RULE', 'SINCE', 'ENDED', 'WHAT'],
    list.map(({ id, rule, since, until, message, silenced }) => [
      String(id),
      rule,
      ago(since),
      until ? ago(until) : silenced ? 'silenced' : '',
      message,
    ]),
  )
}

async function set({ client, out }: Context, rule: string, { name, model }: AlertOptions) {
  const made = name ?? `${rule.trim().split(/\s+/)[0]}${model ? `-${model.split('@')[0]}` : ''}`
  const known = await client.alertRules.set(made, rule, model)
  if (out.json) return out.document(known)
  out.say(`rule ${known.name}: ${known.rule}${known.model ? ` of ${known.model}` : ''}`)
}
