import { setTimeout } from 'node:timers/promises'
import type { HistoryQuery, HistoryReport } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { compact, sparkline } from '../terminal.ts'
import { machineLine } from './watch.ts'

export interface TopOptions {
  by?: string
  once?: boolean
}

type Part = NonNullable<HistoryQuery['by']>[number]

const MINUTES = 15
const EVERY = 2_000
const parts = ['model', 'version', 'door'] as const

/** What is asked of each model now: redrawn on a terminal, told once elsewhere. */
export async function top({ client, out, signal }: Context, { by = 'model', once }: TopOptions) {
  const chosen = by.split(',') as Part[]
  const unknown = chosen.find((part) => !parts.includes(part))
  if (unknown !== undefined) throw fail('OPTION_INVALID', { option: 'by', reason: `expected ${parts.join(', ')}` })
  for (;;) {
    const since = new Date(Date.now() - MINUTES * 60_000).toISOString()
    const [history, machine, open] = await Promise.all([
      client.history({ since, by: chosen }),
      client.resources(),
      client.alerts({ open: true }),
    ])
    if (out.json) return out.document({ history, machine, alerts: open })
    const lines = [
      ...out.lines(
        [
          ...chosen.map((part) => part.toUpperCase()),
          'REQ/MIN',
          'FAILED',
          'REFUSED',
          'P50',
          'P99',
          'TOKENS/MIN',
          `LAST ${MINUTES} MIN`,
        ],
        history.series.toSorted((a, b) => b.total.requests - a.total.requests).map((one) => row(one, chosen)),
      ),
      '',
      out.style('dim', machineLine(machine)),
      ...open.map(({ message }) => out.style('red', message)),
    ]
    if (!out.live || once) {
      for (const line of lines) out.data(line)
      return
    }
    out.redraw(lines)
    await setTimeout(EVERY, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return out.clear()
  }
}

function row(series: HistoryReport['series'][number], by: readonly Part[]): string[] {
  const { total, points } = series
  const last = points.at(-1)!
  const ms = (seconds: number | undefined) => (seconds === undefined ? '' : `${(1000 * seconds).toPrecision(3)} ms`)
  const percent = (count: number) => (count === 0 ? '0' : `${((100 * count) / total.requests).toFixed(1)} %`)
  const requests = new Map(points.map(({ at, requests }) => [Date.parse(at), requests]))
  const end = Date.parse(last.at)
  const course = Array.from({ length: MINUTES }, (_, i) => requests.get(end - (MINUTES - 1 - i) * 60_000) ?? 0)
  const tokens = last.promptTokens + last.completionTokens
  return [
    ...by.map((part) => String(series[part] || '-')),
    compact(last.requests),
    percent(total.errors),
    percent(total.refused),
    ms(total.latency?.p50),
    ms(total.latency?.p99),
    tokens > 0 ? compact(tokens) : '',
    sparkline(course, MINUTES),
  ]
}
