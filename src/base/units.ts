import { fail } from './errors.ts'

const times: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const sizes: Record<string, number> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 }

/** Milliseconds of `90s`, `10m` or `2h`; `never` is 0. Throws OPTION_INVALID. */
export function parseDuration(option: string, text: string): number {
  if (text === 'never' || text === '0') return 0
  return parse(option, text, times, 'a time such as 90s, 10m or 2h, or "never"')
}

/** Bytes of `800MB` or `4GiB`. Throws OPTION_INVALID. */
export function parseBytes(option: string, text: string): number {
  return Math.floor(parse(option, text, sizes, 'a size such as 800MB or 4GiB'))
}

function parse(option: string, text: string, units: Record<string, number>, expected: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)\s*([a-z]+)$/i.exec(text.trim()) ?? []
  const factor = Object.hasOwn(units, unit.toLowerCase()) ? units[unit.toLowerCase()] : 0
  const value = Number(number) * factor
  if (value > 0) return value
  throw fail('OPTION_INVALID', { option, reason: `expected ${expected}, got "${text.slice(0, 40)}"` })
}
