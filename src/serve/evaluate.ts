import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fail } from '../base/errors.ts'
import type { Manifest, Metrics } from '../bundle/manifest.ts'
import { imagesApart, rowsApart } from '../data/apart/apart.ts'
import type { Columns } from '../data/columns.ts'
import type { ReadOptions, Row } from '../data/dataset.ts'
import type { LabelledImage } from '../data/images/source.ts'
import type { DataReport } from '../data/report.ts'
import type { Registry } from '../registry/registry.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import { measureOn } from '../train/measuring.ts'
import { Confusion, type LabelMetrics } from '../train/metrics.ts'
import { scorerOf } from '../train/scores.ts'
import type { Deployments } from './deployments.ts'

export interface Evaluation {
  model: string
  version: number
  metrics: Metrics
  rows: number
  perLabel: LabelMetrics[]
}

const AT_ONCE = 256

/**
 * What a version scores on a data set. Classifiers of texts and images are asked as they are served, through their engine;
 * other tasks are measured as in training, in a process of their own: perplexity, F1 of entities, retrieval, a loss. Throws LABEL_UNKNOWN, LABEL_MISSING, DATA_MALFORMED or DATA_EMPTY.
 */
export async function evaluate(
  house: { store: Store; datasets: Datasets; deployments: Deployments; registry: Registry },
  { model, dataset, read = {} }: { model: string; dataset: string; read?: ReadOptions },
  signal: AbortSignal,
): Promise<Evaluation> {
  const found = await house.deployments.resolve(model)
  const { name, version, manifest } = found
  if (manifest.task === 'image-classification') return evaluateImages(house, { model, dataset })
  if (manifest.task !== 'text-classification') {
    const base = { ref: `${name}@${version}`, manifest, files: await house.registry.checkout(found) }
    const { metrics, rows } = await measureOn(house, base, { dataset, read }, signal)
    return { model: name, version, metrics, rows, perLabel: [] }
  }
  const { labels, thresholds, problem = 'classification' } = manifest
  const scorer = scorerOf(problem, labels, thresholds)
  let batch: { text: string; truth: number | number[] }[] = []
  const flush = async () => {
    if (batch.length === 0) return
    const texts = batch.map(({ text }) => text.slice(0, 100_000))
    const { output } = await house.deployments.predict(`${name}@${version}`, texts, { deadline: 300_000 })
    if (output.kind !== 'texts') return
    batch.forEach(({ truth }, row) => {
      scorer.add(truth, output.probabilities.subarray(row * labels.length, (row + 1) * labels.length))
    })
    batch = []
  }
  await withFile(house, dataset, async (path, source) => {
    for await (const rows of rowsApart(path, { ...asTrained(manifest), ...read, name: source })) {
      for (const row of rows) {
        const truth = truthOf(row, manifest, source)
        if (row.text.trim() === '') continue
        batch.push({ text: row.text, truth })
        if (batch.length === AT_ONCE) await flush()
      }
    }
    await flush()
    if (scorer.rows === 0) throw fail('DATA_EMPTY', { source })
  })
  return { model: name, version, ...measured(scorer) }
}

function measured(scorer: Pick<Confusion, 'metrics' | 'rows' | 'perLabel'>) {
  const perLabel = scorer.perLabel().map((one) => ({ ...one, f1: Number.isNaN(one.f1) ? 0 : one.f1 }))
  return { metrics: scorer.metrics(), rows: scorer.rows, perLabel }
}

/** Where the labels of a row stood in training, when there may be several. */
function asTrained({ problem, data }: Manifest): ReadOptions {
  if (problem !== 'multi-label') return {}
  const { labels, separator } = ((data as unknown as DataReport | undefined)?.columns ?? {}) as Partial<Columns>
  return { ...(labels && { labelColumns: labels }), ...(separator !== undefined && { separator }) }
}

/** What a row teaches: the index of its label, the indices of several, or a number. */
function truthOf({ label, labels: several, line }: Row, { labels, problem }: Manifest, source: string) {
  const indexOf = (label: string) => {
    const index = labels.indexOf(label)
    if (index >= 0) return index
    const known = labels.join(', ').slice(0, 300)
    throw fail('LABEL_UNKNOWN', { source, label: label.slice(0, 80), labels: known })
  }
  if (problem === 'multi-label' && several) return several.map(indexOf)
  if (label === undefined) throw fail('LABEL_MISSING', { source, line })
  if (problem !== 'regression') return problem === 'multi-label' ? [indexOf(label)] : indexOf(label)
  if (label.trim() !== '' && Number.isFinite(Number(label))) return Number(label)
  throw fail('DATA_MALFORMED', { source, line, reason: `"${label.slice(0, 40)}" is not a number` })
}

const IMAGES_AT_ONCE = 64

/** As `evaluate`, for images. Of data that says what is held out, only that is measured. */
async function evaluateImages(
  house: { store: Store; datasets: Datasets; deployments: Deployments },
  { model, dataset }: { model: string; dataset: string },
): Promise<Evaluation> {
  const { name, version, manifest } = await house.deployments.resolve(model)
  const { labels } = manifest
  const confusion = new Confusion(labels)
  const stored = dataset.startsWith('npm:') ? undefined : await house.datasets.get(dataset)
  const path = stored ? await house.store.blobs.verify(stored.digest) : dataset
  const source = stored?.filename ?? dataset
  const measure = async (batch: readonly LabelledImage[]) => {
    if (batch.length === 0) return
    const contents = batch.map(({ content }) => content)
    const { output } = await house.deployments.classifyImages(`${name}@${version}`, contents, { deadline: 300_000 })
    if (output.kind !== 'images') return
    batch.forEach(({ label }, row) => {
      const index = labels.indexOf(label)
      if (index < 0)
        throw fail('LABEL_UNKNOWN', {
          source,
          label: label.slice(0, 80),
          labels: labels.join(', ').slice(0, 300),
        })
      const scores = output.probabilities.subarray(row * labels.length, (row + 1) * labels.length)
      confusion.add(index, scores.indexOf(Math.max(...scores)))
    })
  }
  for (const heldOut of [true, false]) {
    if (confusion.rows > 0) break
    let batch: LabelledImage[] = []
    for await (const images of imagesApart(path, source)) {
      for (const image of images) {
        if ((image.part !== 'train') !== heldOut) continue
        batch.push(image)
        if (batch.length < IMAGES_AT_ONCE) continue
        await measure(batch)
        batch = []
      }
    }
    await measure(batch)
  }
  if (confusion.rows === 0) throw fail('DATA_EMPTY', { source })
  return { model: name, version, ...measured(confusion) }
}

/** An uploaded data set under its own name, by which its format is told, or a package. */
async function withFile(
  { store, datasets }: { store: Store; datasets: Datasets },
  dataset: string,
  use: (path: string, source: string) => Promise<void>,
) {
  if (dataset.startsWith('npm:')) return use(dataset, dataset)
  const { digest, filename } = await datasets.get(dataset)
  const folder = await mkdtemp(join(tmpdir(), 'athanor-evaluate-'))
  try {
    const path = join(folder, basename(filename))
    await symlink(await store.blobs.verify(digest), path)
    await use(path, basename(filename))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
