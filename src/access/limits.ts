import { fail } from '../base/errors.ts'

/** What a tenant or key may use; what is absent is not limited. */
export interface Limits {
  requestsPerMinute?: number
  /** Tokens read and written. */
  tokensPerMinute?: number
  /** Requests at the same time. */
  concurrent?: number
  /** In the currency that prices are in; spent by day, by month, or once. */
  budget?: number
  period?: Period
}
export const periods = ['day', 'month', 'total'] as const
export type Period = (typeof periods)[number]

/** Millionths, in which money is counted. */
export const MICRO = 1_000_000

const whole = ['requestsPerMinute', 'tokensPerMinute', 'concurrent'] as const

/** Limits as given, checked; throws OPTION_INVALID. */
export function checkLimits(given: Limits): Limits {
  for (const name of whole) {
    const value = given[name]
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0))
      throw fail('OPTION_INVALID', { option: name, reason: `expected a whole number from 0 on, got ${value}` })
  }
  const { budget, period } = given
  if (budget !== undefined && !(budget >= 0 && budget <= 1e9))
    throw fail('OPTION_INVALID', { option: 'budget', reason: `expected 0 to 1000000000, got ${budget}` })
  if (period !== undefined && !periods.includes(period))
    throw fail('OPTION_INVALID', { option: 'period', reason: `expected ${periods.join(', ')}, got "${period}"` })
  return { ...given, ...(budget !== undefined && { period: period ?? 'month' }) }
}

/** The period that a time lies in: its name, and when it ends in milliseconds (UTC). */
export function periodAt(period: Period, now: number): { name: string; until: number } {
  if (period === 'total') return { name: 'total', until: Number.POSITIVE_INFINITY }
  const iso = new Date(now).toISOString()
  const [year, month, day] = iso.slice(0, 10).split('-').map(Number)
  if (period === 'day') return { name: iso.slice(0, 10), until: Date.UTC(year, month - 1, day + 1) }
  return { name: iso.slice(0, 7), until: Date.UTC(year, month, 1) }
}
