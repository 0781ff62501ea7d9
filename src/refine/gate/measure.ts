import { availableParallelism } from 'node:os'
import type { Manifest } from '../../bundle/manifest.ts'
import { Engine } from '../../engine/engine.ts'
import type { Example } from '../examples/example.ts'
import type { Goal } from './goal.ts'
import { measurable, type Quality, type Tell } from './measurable.ts'
import { type MeasureName, measured } from './measures.ts'

/** A version on disk. */
export interface Candidate {
  readonly manifest: Manifest
  readonly files: Readonly<Record<string, string>>
  readonly size: number
}

/** Quality, speed and size of a refined version against its source's. */
export type Measurement = Quality

/** Requests of a round, one at a time, that latency is the median of, and how many an engine answers before the other's turn. */
const [SINGLES, TURN] = [24, 4]
/** Rounds go on, up to a number and milliseconds, while the middle half of their ratios spans more than this. */
const [STEADY, MOST_ROUNDS, LONGEST] = [0.1, 21, 20_000]
/** They need not where the ratio is so many times above its bound, or below it. */
const FAR = 4
/** Sources of more parameters are measured on all cores, others on one, where rounds differ less. */
const LARGE = 8_000_000

/** A batch may take long on a busy machine, and nobody waits for its answer: milliseconds until an engine is taken for hung. */
const HANG = 300_000

/** The part of measuring that quality is told as. */
const QUALITY = 0.4

/**
 * Measures a refined version against its source in the same run: both in engine processes like those that serve,
 * quality on all rows, then at least `rounds` rounds in which they take turns, each beginning every other round. Ratios are
 * medians of the rounds' ratios, so that what disturbs the machine for longer than a turn disturbs both; the refined version's
 * own times are told as the source's times that ratio. `goal` is what the ratios are held to.
 */
export async function measure(
  source: Candidate,
  refined: Candidate,
  rows: readonly Example[],
  { rounds = 7, goal, stop, tell = () => {} }: { rounds?: number; goal?: Goal; stop?: AbortSignal; tell?: Tell } = {},
): Promise<Measurement> {
  const threads = source.manifest.parameters > LARGE ? Math.min(8, availableParallelism()) : 1
  const engines = [source, refined].map(
    ({ manifest, files }, i) =>
      new Engine(
        { name: i === 0 ? 'source' : 'refined', version: 1, manifest, files: { ...files } },
        { threads, hangLimit: HANG },
      ),
  )
  try {
    await Promise.all(engines.map(({ ready }) => ready))
    const subject = measurable(source, rows)
    const quality = await subject.quality(engines, [source, refined], (share) => tell(share * QUALITY))
    const [singles, batches] = [[], []] as number[][][]
    const { singles: count = SINGLES } = subject
    const limit = (name: MeasureName) =>
      (goal?.best !== name && goal?.bounds.find(({ measure }) => measure === name)?.value) || Number.NaN
    const limits = [limit('latency'), 1 / limit('throughput')]
    const unsteady = () =>
      [singles, batches].some((all, i) => {
        const ratios = all.map(([a, b]) => b / a)
        const far = Math.abs(Math.log(median(ratios) / limits[i])) > Math.log(FAR)
        return spread(ratios) > STEADY && !far
      })
    const began = performance.now()
    const more = (round: number) => round < MOST_ROUNDS && performance.now() - began < LONGEST && unsteady()
    for (let round = 0; round < rounds || more(round); round++) {
      if (stop?.aborted) break
      tell(QUALITY + (1 - QUALITY) * Math.min(0.95, round / rounds))
      const order = round % 2 === 0 ? [0, 1] : [1, 0]
      const times: number[][] = [[], []]
      for (let i = 0; i < count; i += TURN) {
        for (const at of order) {
          for (let n = i; n < i + TURN; n++) times[at].push(await subject.single(engines[at], round * count + n))
        }
      }
      singles.push(times.map(median))
      const whole: number[] = []
      for (const at of order) whole[at] = await subject.batch(engines[at], round)
      batches.push(whole)
    }
    const memory = await Promise.all(engines.map(async (engine) => (await engine.stats())?.rss ?? 0))
    const [latency, time] = [singles, batches].map((all) => ({
      source: median(all.map(([a]) => a)),
      ratio: median(all.map(([a, b]) => b / a)),
    }))
    const rate = (1000 * subject.batchRows) / time.source
    return {
      rows: quality.rows,
      metrics: quality.metrics,
      table: [
        ...quality.table,
        measured('latency', latency.source, latency.source * latency.ratio),
        measured('throughput', rate, rate / time.ratio),
        measured('size', source.size, refined.size),
        measured('memory', memory[0], memory[1]),
      ],
    }
  } finally {
    await Promise.all(engines.map((engine) => engine.stop(0)))
  }
}

/** How far apart the middle half of some numbers lies, to their median. */
const spread = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))]
  return (at(0.75) - at(0.25)) / at(0.5)
}

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
