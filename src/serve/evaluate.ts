import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fail } from '../base/errors.ts'
import type { Metrics } from '../bundle/manifest.ts'
import { type Dataset, openDataset, type ReadOptions } from '../data/dataset.ts'
import { type LabelledImage, openImages } from '../data/images/source.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import { Confusion, type LabelMetrics } from '../train/metrics.ts'
import type { Deployments } from './deployments.ts'

export interface Evaluation {
  model: string
  version: number
  metrics: Metrics
  rows: number
  perLabel: LabelMetrics[]
}

const AT_ONCE = 256

/** Accuracy and F1 of a served classifier on a data set, streamed through its engine; throws LABEL_UNKNOWN or DATA_EMPTY. */
export async function evaluate(
  house: { store: Store; datasets: Datasets; deployments: Deployments },
  { model, dataset, read = {} }: { model: string; dataset: string; read?: ReadOptions },
): Promise<Evaluation> {
  const { name, version, manifest } = await house.deployments.resolve(model)
  if (manifest.task === 'image-classification') return evaluateImages(house, { model, dataset })
  if (manifest.task !== 'text-classification')
    throw fail('BAD_REQUEST', { message: `model "${name}" is not a classifier` })
  const { labels } = manifest
  const confusion = new Confusion(labels)
  await withDataset(house, dataset, read, async (opened) => {
    let batch: { text: string; label: number }[] = []
    const flush = async () => {
      if (batch.length === 0) return
      const texts = batch.map(({ text }) => text.slice(0, 100_000))
      const { output } = await house.deployments.predict(`${name}@${version}`, texts, { deadline: 300_000 })
      if (output.kind !== 'texts') return
      batch.forEach(({ label }, row) => {
        const scores = output.probabilities.subarray(row * labels.length, (row + 1) * labels.length)
        confusion.add(label, scores.indexOf(Math.max(...scores)))
      })
      batch = []
    }
    for await (const { text, label, line } of opened.rows()) {
      if (label === undefined) throw fail('LABEL_MISSING', { source: opened.source, line })
      const index = labels.indexOf(label)
      if (index < 0)
        throw fail('LABEL_UNKNOWN', {
          source: opened.source,
          label: label.slice(0, 80),
          labels: labels.join(', ').slice(0, 300),
        })
      if (text.trim() === '') continue
      batch.push({ text, label: index })
      if (batch.length === AT_ONCE) await flush()
    }
    await flush()
    if (confusion.rows === 0) throw fail('DATA_EMPTY', { source: opened.source })
  })
  return { model: name, version, ...measured(confusion) }
}

function measured(confusion: Confusion) {
  const perLabel = confusion.perLabel().map((one) => ({ ...one, f1: Number.isNaN(one.f1) ? 0 : one.f1 }))
  return { metrics: confusion.metrics(), rows: confusion.rows, perLabel }
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
  const source = await openImages(stored ? house.store.blobs.path(stored.digest) : dataset, stored?.filename)
  const measure = async (batch: readonly LabelledImage[]) => {
    if (batch.length === 0) return
    const contents = batch.map(({ content }) => content)
    const { output } = await house.deployments.classifyImages(`${name}@${version}`, contents, { deadline: 300_000 })
    if (output.kind !== 'images') return
    batch.forEach(({ label }, row) => {
      const index = labels.indexOf(label)
      if (index < 0)
        throw fail('LABEL_UNKNOWN', {
          source: source.source,
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
    for await (const image of source.images()) {
      if ((image.part !== 'train') !== heldOut) continue
      batch.push(image)
      if (batch.length < IMAGES_AT_ONCE) continue
      await measure(batch)
      batch = []
    }
    await measure(batch)
  }
  if (confusion.rows === 0) throw fail('DATA_EMPTY', { source: source.source })
  return { model: name, version, ...measured(confusion) }
}

/** Opens an uploaded data set under its own name, or a package, and closes it after use. */
async function withDataset(
  { store, datasets }: { store: Store; datasets: Datasets },
  dataset: string,
  read: ReadOptions,
  use: (opened: Dataset) => Promise<void>,
) {
  if (dataset.startsWith('npm:')) {
    const opened = await openDataset(dataset, read)
    return use(opened).finally(() => opened.close())
  }
  const { digest, filename } = await datasets.get(dataset)
  const folder = await mkdtemp(join(tmpdir(), 'athanor-evaluate-'))
  try {
    const path = join(folder, basename(filename))
    await symlink(store.blobs.path(digest), path)
    const opened = await openDataset(path, { ...read, name: basename(filename) })
    await use(opened)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
