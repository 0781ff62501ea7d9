import type { TrainEvent } from '../../client/src/index.ts'
import type { Context } from './context.ts'
import { bytes } from './terminal.ts'

/** What a refinement was measured to be beside its source. */
export type GateEvent = Extract<TrainEvent, { type: 'gate' }>

/** The gate's table: a line a measure. */
export function showGate({ out }: Context, { table, rows, what }: GateEvent) {
  out.say(rows > 0 ? `${what}, measured on ${rows} rows:` : `${what}, measured on drawn inputs:`)
  out.table(
    ['MEASURE', 'SOURCE', 'REFINED', 'CHANGE'],
    table.map(({ name, source, refined, change }) => [
      name,
      name === 'agreement' ? '' : figure(name, source),
      figure(name, refined),
      name === 'agreement' ? '' : changeOf(name, change),
    ]),
  )
}

/** What a search tried, a line a combination; the best in something are marked. */
export function showTried({ out }: Context, gates: readonly GateEvent[]) {
  const tried = gates.filter(({ chosen }) => !chosen)
  if (tried.length === 0) return
  const names = tried[0].table.map(({ name }) => name).filter((name) => name !== 'macroF1')
  out.table(
    ['PASSES', ...names.map((name) => name.toUpperCase()), ''],
    tried.map((gate) => [
      gate.what,
      ...names.map((name) => {
        const line = gate.table.find((one) => one.name === name)
        if (!line) return ''
        return name === 'agreement' ? figure(name, line.refined) : changeOf(name, line.change)
      }),
      [gate.pareto ? 'Pareto' : '', gate.accepted ? '' : outOfBounds(gate)].filter(Boolean).join(', '),
    ]),
  )
}

const outOfBounds = ({ missed }: GateEvent) => (missed.length > 0 ? `misses ${missed.join(', ')}` : 'gains nothing')

const shares = new Set(['accuracy', 'macroF1'])

function figure(name: string, value: number): string {
  if (shares.has(name)) return value.toFixed(4)
  if (name === 'agreement') return `${(value * 100).toFixed(2)} %`
  if (name === 'latency') return `${value.toFixed(2)} ms`
  if (name === 'throughput') return `${Math.round(value)} rows/s`
  if (name === 'perplexity') return value.toFixed(3)
  return bytes(value)
}

const changeOf = (name: string, change: number) =>
  shares.has(name) ? `${change < 0 ? '' : '+'}${change.toFixed(2)} pt` : `${change.toFixed(2)}x`
