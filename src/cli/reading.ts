import type { RunSpec } from '../../client/src/index.ts'
import { fail } from '../base/errors.ts'

/** Options that say how a data set is to be read. */
export interface ReadingOptions {
  text?: string
  label?: string
  labelColumns?: string
  separator?: string
  group?: string
  time?: string
  encoding?: string
  labels?: string
  regression?: boolean
  dropUnlabelled?: boolean
}

const list = (value: string | undefined) => value?.split(',').map((one) => one.trim())

/** Of options those that are named here and were given. */
export const given = <Options extends object, Name extends keyof Options>(options: Options, names: readonly Name[]) =>
  Object.fromEntries(names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]]))) as Partial<
    Pick<Options, Name>
  >

/** They as a run wants them: `read`, `problem` and `dropUnlabelled`, as far as given. */
export function readingOf(options: ReadingOptions): Pick<RunSpec, 'read' | 'problem' | 'dropUnlabelled'> {
  const { text, label, group, time, separator, encoding, labels, labelColumns, regression, dropUnlabelled } = options
  const all = { text, label, group, time, separator, encoding, labels: list(labels), labelColumns: list(labelColumns) }
  const read = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  return {
    ...(Object.keys(read).length > 0 && { read }),
    ...(regression && { problem: 'regression' }),
    ...(dropUnlabelled && { dropUnlabelled }),
  }
}

/** `10m`, `90s`, `1h`, `90d` or seconds alone → seconds; throws OPTION_INVALID. */
export function secondsOf(option: string, value: string): number {
  const found = /^(\d{1,7}(?:\.\d{1,3})?)(s|m|h|d)?$/.exec(value.trim())
  if (!found)
    throw fail('OPTION_INVALID', { option, reason: `expected e.g. 90s, 10m or 1h, got "${value.slice(0, 40)}"` })
  return Math.round(Number(found[1]) * { s: 1, m: 60, h: 3600, d: 86_400 }[(found[2] ?? 's') as 's'])
}

export function wholeNumber(option: string, value: string): number {
  if (!/^\d{1,10}$/.test(value))
    throw fail('OPTION_INVALID', { option, reason: `expected a whole number, got "${value.slice(0, 40)}"` })
  return Number(value)
}
