import { readFileSync } from 'node:fs'
import { fail } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import type { Engine, NewRequest } from '../../engine/engine.ts'
import type { Entity, Fill } from '../../engine/messages.ts'
import type { Tensor } from '../../graph/tensor.ts'
import { Confusion } from '../../train/metrics.ts'
import type { Example } from '../examples/example.ts'
import { drawn } from '../inputs.ts'
import type { Candidate } from './measure.ts'
import { type Measured, measured } from './measures.ts'
import { writer } from './writer.ts'

/** What a version is asked, for its quality and its speed. */
export interface Measurable {
  /** Quality of source and refined version on all rows. */
  quality(engines: readonly Engine[], versions: readonly Candidate[], tell: Tell): Promise<Quality>
  /** Milliseconds of the n-th request of one row, and of a batch. */
  single(engine: Engine, n: number): Promise<number>
  batch(engine: Engine, n: number): Promise<number>
  readonly batchRows: number
  /** Requests of a round, where one is long. */
  readonly singles?: number
}

/** Told of how much of the rows is done, from 0 to 1. */
export type Tell = (share: number) => void

/** Lines of the gate's table, the rows they were measured on, and the refined version's own metrics. */
export interface Quality {
  readonly table: readonly Measured[]
  readonly rows: number
  readonly metrics: Record<string, number>
}

/** Rows in one request while quality is measured, and in one while throughput is. */
const [AT_ONCE, BATCH] = [256, 64]
const [IMAGES_AT_ONCE, IMAGE_BATCH] = [64, 32]
const DEADLINE = 300_000

const kinds: Record<Manifest['task'], (source: Candidate, rows: readonly Example[]) => Measurable> = {
  'text-classification': classifier,
  'image-classification': classifier,
  'feature-extraction': (_, rows) => likeness(rows, vectorsOf, cosine),
  'fill-mask': (source, rows) => likeness(masked(source, rows), fillsOf, sameFills),
  'token-classification': (_, rows) => likeness(rows, entitiesOf, sameEntities),
  'text-generation': writer,
  tensor: plainGraph,
}

/** How a version of a task is measured; throws REFINE_UNMEASURABLE without rows that it could be measured on. */
export const measurable = (source: Candidate, rows: readonly Example[]): Measurable =>
  kinds[source.manifest.task](source, rows)

export const timed = async (work: () => Promise<unknown>) => {
  const started = performance.now()
  await work()
  return performance.now() - started
}

const requestOf = (rows: readonly Example[]): NewRequest => {
  const images = rows.flatMap(({ image }) => (image ? [image] : []))
  return images.length > 0 ? { images } : { texts: rows.map(({ text }) => text) }
}

const some = (rows: readonly Example[], start: number, count: number) =>
  Array.from({ length: count }, (_, i) => rows[(start + i) % rows.length])

/** Labels of texts or images: accuracy, macro-F1, and the share of rows with the same label. */
function classifier({ manifest: { labels, task } }: Candidate, rows: readonly Example[]): Measurable {
  const known = rows.filter(({ label }) => labels.includes(label))
  if (known.length === 0) throw fail('REFINE_UNMEASURABLE', {})
  const [atOnce, batchRows] = task === 'image-classification' ? [IMAGES_AT_ONCE, IMAGE_BATCH] : [AT_ONCE, BATCH]
  const ask = async (engine: Engine, part: readonly Example[]) => {
    const { output } = await engine.request(requestOf(part), { deadline: DEADLINE })
    if (output.kind !== 'texts' && output.kind !== 'images')
      throw fail('BUNDLE_INVALID', { reason: 'it does not answer with probabilities' })
    return output.probabilities
  }
  return {
    batchRows,
    async quality(engines, _, tell) {
      const confusions = engines.map(() => new Confusion(labels))
      let same = 0
      for (let at = 0; at < known.length; at += atOnce) {
        tell(at / known.length)
        const part = known.slice(at, at + atOnce)
        const answers: Float32Array[] = []
        for (const engine of engines) answers.push(await ask(engine, part))
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
    single: (engine, n) => timed(() => ask(engine, some(known, n, 1))),
    batch: (engine, n) => timed(() => ask(engine, some(known, n * batchRows, batchRows))),
  }
}

/** Answers without a truth to hold them to: how alike the two versions' are, from 0 to 1 a text. */
function likeness<Answer>(
  rows: readonly Example[],
  answersOf: (engine: Engine, texts: string[]) => Promise<Answer[]>,
  alike: (a: Answer, b: Answer) => number,
): Measurable {
  if (rows.length === 0) throw fail('REFINE_UNMEASURABLE', {})
  const ask = (engine: Engine, part: readonly Example[]) =>
    answersOf(
      engine,
      part.map(({ text }) => text),
    )
  return {
    batchRows: BATCH,
    async quality([source, refined], _, tell) {
      let sum = 0
      for (let at = 0; at < rows.length; at += BATCH) {
        tell(at / rows.length)
        const part = rows.slice(at, at + BATCH)
        const [before, after] = [await ask(source, part), await ask(refined, part)]
        before.forEach((answer, i) => {
          sum += alike(answer, after[i])
        })
      }
      return { rows: rows.length, metrics: {}, table: [measured('agreement', 1, sum / rows.length)] }
    },
    single: (engine, n) => timed(() => ask(engine, some(rows, n, 1))),
    batch: (engine, n) => timed(() => ask(engine, some(rows, n * BATCH, BATCH))),
  }
}

async function vectorsOf(engine: Engine, texts: string[]): Promise<Float32Array[]> {
  const { output } = await engine.request({ texts }, { deadline: DEADLINE })
  if (output.kind !== 'vectors') throw fail('BUNDLE_INVALID', { reason: 'it does not answer with vectors' })
  const { vectors, width } = output
  return texts.map((_, row) => vectors.subarray(row * width, (row + 1) * width))
}

function cosine(a: Float32Array, b: Float32Array): number {
  let [product, one, other] = [0, 0, 0]
  for (let i = 0; i < a.length; i++) {
    product += a[i] * b[i]
    one += a[i] ** 2
    other += b[i] ** 2
  }
  return Math.max(0, product / Math.max(Math.sqrt(one * other), 1e-30))
}

async function fillsOf(engine: Engine, texts: string[]): Promise<Fill[][][]> {
  const { output } = await engine.request({ texts, topK: 1 }, { deadline: DEADLINE })
  if (output.kind !== 'fills') throw fail('BUNDLE_INVALID', { reason: 'it does not fill masks' })
  return output.fills
}

const sameFills = (a: Fill[][], b: Fill[][]) =>
  a.filter((mask, i) => mask[0]?.token === b[i]?.[0]?.token).length / Math.max(1, a.length)

/** The texts with one word of each hidden. */
function masked({ manifest, files }: Candidate, rows: readonly Example[]): Example[] {
  const json = readFileSync(files['tokenizer.json'], 'utf8')
  const { mask } = new PublishedTokenizer(json, { maxLength: Number(manifest.pipeline?.maxLength) })
  if (!mask) throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json has no token for masked words' })
  return rows.map(({ text, label }, row) => {
    const words = /\s/.test(text.trim()) ? text.trim().split(/\s+/) : Array.from(text.trim())
    const at = row % Math.min(words.length, 16)
    const joint = /\s/.test(text.trim()) ? ' ' : ''
    return { label, text: words.with(at, mask.content).join(joint) }
  })
}

async function entitiesOf(engine: Engine, texts: string[]): Promise<Entity[][]> {
  const { output } = await engine.request({ texts }, { deadline: DEADLINE })
  if (output.kind !== 'entities') throw fail('BUNDLE_INVALID', { reason: 'it does not label stretches of texts' })
  return output.entities
}

/** F1 of one version's stretches against the other's; 1 where both found none. */
function sameEntities(a: Entity[], b: Entity[]): number {
  const name = ({ label, start, end }: Entity) => `${label} ${start} ${end}`
  const known = new Set(a.map(name))
  const both = b.filter((one) => known.has(name(one))).length
  return a.length + b.length === 0 ? 1 : (2 * both) / (a.length + b.length)
}

/** A plain graph is measured on drawn inputs: how near its outputs are to the source's stands for quality. */
function plainGraph({ manifest }: Candidate): Measurable {
  const feeds = drawn(manifest, 8)
  const first = Object.values(feeds[0].tensors)[0]
  const ask = async (engine: Engine, n: number) => {
    const inputs = feeds[n % feeds.length].tensors
    const { output } = await engine.request({ inputs }, { deadline: DEADLINE })
    return output.kind === 'tensors' ? output.outputs : {}
  }
  return {
    batchRows: first?.dims[0] ?? 1,
    async quality([before, after]) {
      let [wrong, size] = [0, 0]
      for (let n = 0; n < feeds.length; n++) {
        const [source, refined] = [await ask(before, n), await ask(after, n)]
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
