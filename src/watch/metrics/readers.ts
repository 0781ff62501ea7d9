import type { Manifest } from '../../bundle/manifest.ts'
import { type Buckets, merged } from './buckets.ts'
import type { Series } from './series.ts'
import type { State } from './state.ts'

/** Values of a metric's labels in order, and what was counted for them. */
export type Sample = readonly [labels: readonly string[], value: number | Buckets]

/** One metric: what it is called, what it means, and how it is read from what was counted. */
export interface Metric {
  name: string
  kind: 'counter' | 'gauge' | 'histogram'
  help: string
  /** As OpenTelemetry writes it, where the name does not tell. */
  unit?: string
  labels: readonly string[]
  read(state: State): Iterable<Sample>
}

const metric =
  (kind: Metric['kind']) =>
  (name: string, help: string, labels: readonly string[], read: Metric['read']): Metric => ({
    name,
    kind,
    help,
    labels,
    read,
  })
export const counter = metric('counter')
export const gauge = metric('gauge')
export const histogram = metric('histogram')

export type Of = (series: Series) => number | Buckets

/** A sample for each version and door where something was counted. */
export const bySeries =
  (of: Of): Metric['read'] =>
  ({ series }) =>
    series.flatMap((one): Sample[] => {
      const value = of(one)
      const empty = typeof value === 'number' ? one.answered === 0 : value.count === 0
      return empty ? [] : [[[one.model, one.version, one.door], value]]
    })

/** A sample for each version of some tasks, all its doors together. */
export const byVersion =
  (of: Of, tasks: ReadonlySet<Manifest['task']>): Metric['read'] =>
  ({ series }) => {
    const chosen = series.filter(({ task, model }) => model !== '' && task !== undefined && tasks.has(task))
    return [...Map.groupBy(chosen, ({ model, version }) => `${model}@${version}`).values()].map((group): Sample => {
      const values = group.map(of)
      const whole = values.every((value) => typeof value === 'number')
        ? values.reduce((sum, value) => sum + value, 0)
        : merged(values as Buckets[])
      return [[group[0].model, group[0].version], whole]
    })
  }

/** Series of some tasks with what they counted by a key, all doors together. */
export const byKey =
  (
    of: (series: Series) => ReadonlyMap<string, number>,
    keyOf: (key: string) => string,
    tasks: ReadonlySet<Manifest['task']>,
  ): Metric['read'] =>
  ({ series }) => {
    const sums = new Map<string, { labels: string[]; sum: number }>()
    for (const one of series) {
      if (one.task === undefined || !tasks.has(one.task)) continue
      for (const [key, count] of of(one)) {
        const labels = [one.model, one.version, keyOf(key)]
        const known = sums.get(labels.join(' ')) ?? { labels, sum: 0 }
        known.sum += count
        sums.set(labels.join(' '), known)
      }
    }
    return [...sums.values()].map(({ labels, sum }): Sample => [labels, sum])
  }

export const writing = new Set<Manifest['task']>(['text-generation'])
export const answering = new Set<Manifest['task']>([
  'text-classification',
  'token-classification',
  'feature-extraction',
  'fill-mask',
  'image-classification',
  'tensor',
])

type Engine = State['engines'][number]
export const byEngine =
  (of: (engine: Engine) => number | undefined): Metric['read'] =>
  ({ engines }) => {
    const sums = new Map<string, { labels: string[]; sum: number }>()
    for (const engine of engines) {
      const value = of(engine)
      if (value === undefined) continue
      const labels = [engine.model, String(engine.version)]
      const known = sums.get(labels.join(' ')) ?? { labels, sum: 0 }
      known.sum += value
      sums.set(labels.join(' '), known)
    }
    return [...sums.values()].map(({ labels, sum }): Sample => [labels, sum])
  }

export const one =
  (of: (state: State) => number | undefined): Metric['read'] =>
  (state) => {
    const value = of(state)
    return value === undefined ? [] : [[[], value]]
  }

export const version = ['model', 'version'] as const
export const door = ['model', 'version', 'door'] as const
