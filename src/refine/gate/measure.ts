import { fail } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import type { Sample } from '../../data/samples.ts'
import { Engine, threadsFor } from '../../engine/engine.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { Confusion } from '../../train/metrics.ts'
import { drawn } from '../inputs.ts'
import { type Measured, measured } from './measures.ts'

/** A version on disk. */
export interface Candidate {
  readonly manifest: Manifest
  readonly files: Readonly<Record<string, string>>
  readonly size: number
}

export interface Measurement {
  readonly table: readonly Measured[]
  /** Rows that quality was measured on. */
  readonly rows: number
  /** The refined version's own metrics on them. */
  readonly metrics: Record<string, number>
}

/** Texts in one request while quality is measured, and in one while throughput is. */
const [AT_ONCE, BATCH] = [256, 64]
/** Requests of a round, one at a time, that latency is the median of, and how many an engine answers before the other's turn. */
const [SINGLES, TURN] = [24, 4]
/** Rounds go on, up to a limit, while the middle half of their ratios spans more than this. */
const [STEADY, MOST_ROUNDS] = [0.1, 21]
const DEADLINE = 300_000

/**
 * Measures a refined version against its source in the same run: both in engine processes as serving starts them,
 * quality on all rows, then at least `rounds` rounds in which they take turns, each beginning every other round. Ratios are
 * medians of the rounds' ratios, so that what disturbs the machine for longer than a turn disturbs both.
 */
export async function measure(
  source: Candidate,
  refined: Candidate,
  rows: readonly Sample[],
  { rounds = 7, stop }: { rounds?: number; stop?: AbortSignal } = {},
): Promise<Measurement> {
  const threads = threadsFor(source.manifest)
  const engines = [source, refined].map(
    ({ manifest, files }, i) =>
      new Engine({ name: i === 0 ? 'source' : 'refined', version: 1, manifest, files: { ...files } }, { threads }),
  )
  try {
    await Promise.all(engines.map(({ ready }) => ready))
    const subject = subjectOf(source.manifest, rows)
    const quality = await subject.quality(engines)
    const [singles, batches] = [[], []] as number[][][]
    const unsteady = () => [singles, batches].some((all) => spread(all.map(([a, b]) => b / a)) > STEADY)
    for (let round = 0; round < rounds || (round < MOST_ROUNDS && unsteady()); round++) {
      if (stop?.aborted) break
      const order = round % 2 === 0 ? [0, 1] : [1, 0]
      const times: number[][] = [[], []]
      for (let i = 0; i < SINGLES; i += TURN) {
        for (const at of order) {
          for (let n = i; n < i + TURN; n++) times[at].push(await subject.single(engines[at], round * SINGLES + n))
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
      refined: median(all.map(([, b]) => b)),
      ratio: median(all.map(([a, b]) => b / a)),
    }))
    return {
      rows: quality.rows,
      metrics: quality.metrics,
      table: [
        ...quality.table,
        measured('latency', latency.source, latency.refined, latency.ratio),
        measured(
          'throughput',
          (1000 * subject.batchRows) / time.source,
          (1000 * subject.batchRows) / time.refined,
          1 / time.ratio,
        ),
        measured('size', source.size, refined.size),
        measured('memory', memory[0], memory[1]),
      ],
    }
  } finally {
    await Promise.all(engines.map((engine) => engine.stop(0)))
  }
}

interface Measurable {
  quality(engines: readonly Engine[]): Promise<Measurement>
  /** Milliseconds of the n-th request of one row, and of a batch. */
  single(engine: Engine, n: number): Promise<number>
  batch(engine: Engine, n: number): Promise<number>
  readonly batchRows: number
}

function subjectOf(manifest: Manifest, rows: readonly Sample[]): Measurable {
  if (manifest.task === 'text-classification') return classifier(manifest, rows)
  if (manifest.task === 'tensor') return plainGraph(manifest)
  throw fail('UNSUPPORTED', {
    what: `measuring a model of the task ${manifest.task}`,
    instead: 'Classifiers of texts and models that take tensors can be refined.',
  })
}

const timed = async (work: () => Promise<unknown>) => {
  const started = performance.now()
  await work()
  return performance.now() - started
}

function classifier({ labels }: Manifest, rows: readonly Sample[]): Measurable {
  const known = rows.filter(({ label }) => labels.includes(label))
  if (known.length === 0) throw fail('REFINE_UNMEASURABLE', {})
  const ask = async (engine: Engine, texts: string[]) => {
    const { output } = await engine.request({ texts }, { deadline: DEADLINE })
    if (output.kind !== 'texts') throw fail('BUNDLE_INVALID', { reason: 'it does not answer texts with probabilities' })
    return output.probabilities
  }
  const textsFrom = (start: number, count: number) =>
    Array.from({ length: count }, (_, i) => known[(start + i) % known.length].text)
  return {
    batchRows: BATCH,
    async quality(engines) {
      const confusions = engines.map(() => new Confusion(labels))
      let same = 0
      for (let at = 0; at < known.length; at += AT_ONCE) {
        const part = known.slice(at, at + AT_ONCE)
        const answers: Float32Array[] = []
        for (const engine of engines)
          answers.push(
            await ask(
              engine,
              part.map(({ text }) => text),
            ),
          )
        part.forEach(({ label }, row) => {
          const best = answers.map((probabilities) => {
            const scores = probabilities.subarray(row * labels.length, (row + 1) * labels.length)
            return scores.indexOf(Math.max(...scores))
          })
          best.forEach((prediction, i) => {
            confusions[i].add(labels.indexOf(label), prediction)
          })
          if (best[0] === best[1]) same++
        })
      }
      const [source, refined] = confusions.map((confusion) => confusion.metrics())
      return {
        rows: known.length,
        metrics: refined,
        table: [
          measured('accuracy', source.accuracy, refined.accuracy),
          measured('macroF1', source.macroF1, refined.macroF1),
          measured('agreement', 1, same / known.length),
        ],
      }
    },
    single: (engine, n) => timed(() => ask(engine, textsFrom(n, 1))),
    batch: (engine, n) => timed(() => ask(engine, textsFrom(n * BATCH, BATCH))),
  }
}

/** A plain graph is measured on drawn inputs: how near its outputs are to the source's stands for quality. */
function plainGraph(manifest: Manifest): Measurable {
  const feeds = drawn(manifest, 8)
  const first = Object.values(feeds[0].tensors)[0]
  const ask = async (engine: Engine, n: number) => {
    const inputs = feeds[n % feeds.length].tensors
    const { output } = await engine.request({ inputs }, { deadline: DEADLINE })
    return output.kind === 'tensors' ? output.outputs : {}
  }
  return {
    batchRows: first?.dims[0] ?? 1,
    async quality(engines) {
      let [wrong, size] = [0, 0]
      for (let n = 0; n < feeds.length; n++) {
        const [source, refined] = [await ask(engines[0], n), await ask(engines[1], n)]
        for (const [name, tensor] of Object.entries(refined)) {
          if (tensor.dtype !== 'float32' || !source[name]) continue
          const [a, b] = [source[name], tensor].map(({ data }: Tensor) => data as Float32Array)
          for (let i = 0; i < a.length; i++) {
            wrong += (a[i] - b[i]) ** 2
            size += a[i] ** 2
          }
        }
      }
      const agreement = Math.max(0, 1 - Math.sqrt(wrong / Math.max(size, 1e-30)))
      return { rows: 0, metrics: {}, table: [measured('agreement', 1, agreement)] }
    },
    single: (engine, n) => timed(() => ask(engine, n)),
    batch: (engine, n) => timed(() => ask(engine, n)),
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
