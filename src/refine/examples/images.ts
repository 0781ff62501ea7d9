import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type ImagePipelineConfig, toPixels } from '../../data/images/pixels.ts'
import { type ImageSplit, prepareImages } from '../../data/images/prepare.ts'
import { openImages } from '../../data/images/source.ts'
import type { DataSource } from '../../train/job.ts'
import type { RefineJob } from '../job.ts'
import type { Subject } from '../subject.ts'
import { type Example, type Examples, ROWS } from './example.ts'

/** Images kept to calibrate with. */
const CALIBRATE = 512

/**
 * Given images, or the held-out part of the training data: split anew by the version's own seed, which gives the same parts
 * when the data is the same to the last pixel. Data that is not is used to calibrate alone.
 */
export async function imageExamples(job: RefineJob, { manifest }: Subject): Promise<Examples> {
  const config = manifest.pipeline as unknown as ImagePipelineConfig
  const known = new Set(manifest.labels)
  const given = job.heldOut && (await readImages(job.heldOut, config, known))
  if (!job.data) return { heldOut: given ?? [], heldIn: [] }
  const folder = join(job.folder, 'images')
  mkdirSync(folder, { recursive: true })
  const { height, width, channels, fit } = config
  const { lineage } = manifest
  const prepared = await prepareImages({
    train: await openImages(job.data.path, job.data.name),
    seed: lineage.seed ?? 1,
    size: { height, width },
    channels,
    fit,
    folder,
  })
  const taken = (split: ImageSplit, most: number) => examples(split, most, prepared.labels, config)
  const same = prepared.digest === lineage.dataset?.digest
  const { train, validation, test = validation } = prepared
  return {
    heldOut: given ?? (same ? taken(test, ROWS) : []),
    heldIn: taken(train, CALIBRATE).filter(({ label }) => known.has(label)),
  }
}

async function readImages(
  { path, name }: DataSource,
  config: ImagePipelineConfig,
  known: ReadonlySet<string>,
): Promise<Example[]> {
  const rows: Example[] = []
  for await (const { label, content, name: file } of (await openImages(path, name)).images()) {
    if (!known.has(label)) continue
    rows.push({ text: '', label, image: raw(await toPixels(content, config, `${name}: ${file}`), config) })
    if (rows.length === ROWS) break
  }
  return rows
}

/** Rows spread over a split. */
function examples(split: ImageSplit, most: number, labels: readonly string[], config: ImagePipelineConfig): Example[] {
  const count = Math.min(most, split.rows)
  return Array.from({ length: count }, (_, i) => {
    const row = Math.floor((i * split.rows) / count)
    return { text: '', label: labels[split.label(row)], image: raw(split.pixels(row), config) }
  })
}

/** Planes of pixels as an image that needs no decoding. */
function raw(planes: Uint8Array, { height, width, channels }: ImagePipelineConfig) {
  if (channels === 1) return { data: planes, height, width, channels }
  const size = height * width
  const data = new Uint8Array(planes.length)
  for (let c = 0; c < channels; c++) for (let i = 0; i < size; i++) data[i * channels + c] = planes[c * size + i]
  return { data, height, width, channels }
}
