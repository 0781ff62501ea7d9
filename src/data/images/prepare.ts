import { createHash } from 'node:crypto'
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fail } from '../../base/errors.ts'
import { writeWhole } from '../../base/whole.ts'
import { noRemovals, type Reason, type Removals, recordRemoval } from '../clean.ts'
import { type Part, splitRows } from '../split.ts'
import { type ImagePipelineConfig, measure, toPixels } from './pixels.ts'
import type { ImageSource, LabelledImage } from './source.ts'

interface PrepareImagesOptions {
  train: ImageSource
  /** Held-out images of their own; training images that occur among them are removed. */
  validation?: ImageSource
  seed: number
  /** What images are brought to; their own size if they all have the same and it is small. */
  size?: { height: number; width: number }
  /** Found in the data if absent. */
  channels?: 1 | 3
  fit: ImagePipelineConfig['fit']
  /** Scale of a network that was trained before; that of the data if absent. */
  scale?: { mean: number[]; deviation: number[] }
  folder: string
}

/** What reading, checking and splitting did; saved with the version. */
export interface ImageReport {
  kind: 'images'
  source: string
  format: string
  rowsRead: number
  rowsKept: number
  removed: Removals
  labels: Record<string, number>
  splits: Record<Part, number>
  splitBy: 'label' | 'given parts' | 'given file'
  size: { height: number; width: number; channels: number }
}

/** Images of one part at the pipeline's size; the pixels stay on disk. */
export interface ImageSplit {
  readonly rows: number
  label(row: number): number
  /** Bytes plane by plane (channels · height · width). */
  pixels(row: number): Uint8Array
}

export interface PreparedImages {
  labels: string[]
  pipeline: ImagePipelineConfig
  train: ImageSplit
  validation: ImageSplit
  /** Absent when a validation set was given: that one is the held-out split then. */
  test: ImageSplit | undefined
  report: ImageReport
  digest: string
}

const PIXELS = 'pixels.u8'
const META = 'images.json'
/** Images looked at to find size and channels. */
const SAMPLE = 1000
/** Images of this many pixels a side at most keep their own size. */
const SMALL = 64
const DEFAULT_SIZE = 224
/** Most images held out of a data set that does not say which. */
const HELD_OUT = 5000

interface Meta {
  labels: string[]
  pipeline: ImagePipelineConfig
  report: ImageReport
  digest: string
  /** Label of each image in the order of the pixels, and the images of each part. */
  of: number[]
  parts: Record<Part, number[]>
}

/**
 * Decodes, checks and splits images, streaming; only labels and hashes are held in memory. Throws DATA_EMPTY, ONE_CLASS,
 * LABEL_UNKNOWN, SPLIT_IMPOSSIBLE, IMAGE_INVALID and what reading throws.
 */
export async function prepareImages(
  options: PrepareImagesOptions,
  onProgress: (done: number) => void = () => {},
): Promise<PreparedImages> {
  const { train, validation, folder, fit, seed } = options
  const target = { ...(await targetOf(options)), fit }
  const size = target.channels * target.height * target.width
  const file = openSync(join(folder, PIXELS), 'w')
  const collector = new Collector()
  const sums = { all: Array<number>(target.channels).fill(0), squares: Array<number>(target.channels).fill(0), rows: 0 }
  const take = async (source: ImageSource, part?: Part) => {
    for await (const image of source.images()) {
      const pixels = await toPixels(image.content, target, `${source.source}: ${image.name}`)
      const place = part ?? image.part
      if (collector.add(image, pixels, place)) {
        for (let written = 0; written < size; ) written += writeSync(file, pixels, written)
        if (place !== 'validation' && place !== 'test') addTo(sums, pixels, target.channels)
      }
      if (collector.read % 500 === 0) onProgress(collector.read)
    }
  }
  try {
    // the held-out images first: what they share with the training images is removed from those
    if (validation) await take(validation, 'validation')
    await take(train, validation && 'train')
  } finally {
    closeSync(file)
  }
  const { rows, names, removals, digest } = collector.finish(train.source)
  const parts = partsOf(rows, seed, validation !== undefined)
  checkClasses(rows, parts, names)
  const kept = Object.values(parts).flat()
  const meta: Meta = {
    labels: names,
    pipeline: { ...target, ...(options.scale ?? scaleOf(sums, size / target.channels)) },
    digest,
    of: rows.map(({ label }) => label),
    parts,
    report: {
      kind: 'images',
      source: train.source,
      format: train.format,
      rowsRead: collector.read,
      rowsKept: kept.length,
      removed: removals,
      labels: Object.fromEntries(names.map((name, i) => [name, kept.filter((row) => rows[row].label === i).length])),
      splits: { train: parts.train.length, validation: parts.validation.length, test: parts.test.length },
      splitBy: validation ? 'given file' : rows.some(({ part }) => part) ? 'given parts' : 'label',
      size: { height: target.height, width: target.width, channels: target.channels },
    },
  }
  writeWhole(join(folder, META), JSON.stringify(meta)) // last: its presence says that all is there
  return openPreparedImages(folder)!
}

/** What `prepareImages` left in a folder; undefined when it is not all there. */
export function openPreparedImages(folder: string): PreparedImages | undefined {
  const path = join(folder, META)
  if (!existsSync(path)) return undefined
  const { of, parts, ...meta } = JSON.parse(readFileSync(path, 'utf8')) as Meta
  const { height, width, channels } = meta.pipeline
  const size = height * width * channels
  const file = openSync(join(folder, PIXELS), 'r')
  if (fstatSync(file).size !== of.length * size) {
    closeSync(file)
    return undefined // the machine went down before all of it was on disk: it is made again
  }
  const split = (rows: readonly number[]): ImageSplit => ({
    rows: rows.length,
    label: (row) => of[rows[row]],
    pixels(row) {
      const pixels = new Uint8Array(size)
      readSync(file, pixels, 0, size, rows[row] * size)
      return pixels
    },
  })
  return {
    ...meta,
    train: split(parts.train),
    validation: split(parts.validation),
    test: parts.test.length > 0 ? split(parts.test) : undefined,
  }
}

/** Height, width and channels to bring images to: those asked for, else what the first images are like. */
async function targetOf({ train, size, channels }: PrepareImagesOptions) {
  const [sizes, depths] = [new Set<string>(), new Set<1 | 3>()]
  let [count, largest] = [0, 0]
  let first: { height: number; width: number } | undefined
  if (size === undefined || channels === undefined) {
    for await (const { name, content } of train.images()) {
      const found = await measure(content, `${train.source}: ${name}`)
      first ??= { height: found.height, width: found.width }
      sizes.add(`${found.height} ${found.width}`)
      depths.add(found.channels)
      largest = Math.max(largest, found.height, found.width)
      if (++count === SAMPLE) break
    }
    if (!first) throw fail('DATA_EMPTY', { source: train.source })
  }
  const own = sizes.size === 1 && largest <= SMALL ? first! : undefined
  const side = Math.min(DEFAULT_SIZE, Math.max(16, largest))
  return {
    height: size?.height ?? own?.height ?? side,
    width: size?.width ?? own?.width ?? side,
    channels: channels ?? (depths.has(3) ? 3 : 1),
  } as const
}

interface Kept {
  label: number
  part?: Part
  removed?: Reason
}

/** Decides image by image what is kept. */
class Collector {
  read = 0
  readonly #rows: Kept[] = []
  readonly #labels = new Map<string, number>()
  readonly #seen = new Map<bigint, number>()
  readonly #removals = noRemovals()
  readonly #hash = createHash('sha256')

  /** Whether the image is kept for now; it may be taken back when one like it comes under another label. */
  add({ label: name, name: file }: LabelledImage, pixels: Uint8Array, part: Part | undefined): boolean {
    this.read++
    this.#hash.update(JSON.stringify([name, part])).update(pixels)
    const label = this.#labels.get(name) ?? this.#labels.size
    this.#labels.set(name, label)
    const key = createHash('sha1').update(pixels).digest().readBigUInt64LE()
    const twin = this.#seen.get(key)
    const held = part === 'validation' || part === 'test'
    if (twin === undefined) this.#seen.set(key, this.#rows.length)
    else if (!held) {
      const other = this.#rows[twin]
      if (other.part === 'validation' || other.part === 'test') return this.#drop('leakage', file)
      if (other.label === label) return this.#drop('duplicate', file)
      // the same picture under two labels: neither can be trusted
      if (!other.removed) {
        other.removed = 'conflictingLabel'
        this.#removals.counts.conflictingLabel++
      }
      return this.#drop('conflictingLabel', file)
    } else if (this.#rows[twin].part !== part) {
      const other = this.#rows[twin]
      if (!other.removed && (other.part === undefined || other.part === 'train')) {
        other.removed = 'leakage'
        recordRemoval(this.#removals, 'leakage', this.read, file)
      }
    }
    this.#rows.push({ label, ...(part && { part }) })
    return true
  }

  finish(source: string) {
    if (!this.#rows.some((row) => !row.removed)) throw fail('DATA_EMPTY', { source })
    const names = [...this.#labels.keys()].sort((a, b) => Number(a) - Number(b) || (a < b ? -1 : 1))
    const order = names.map((name) => this.#labels.get(name)!)
    for (const row of this.#rows) row.label = order.indexOf(row.label)
    return { rows: this.#rows, names, removals: this.#removals, digest: this.#hash.digest('hex') }
  }

  #drop(reason: Reason, file: string): false {
    recordRemoval(this.#removals, reason, this.read, file)
    return false
  }
}

/** Rows of each part: as the data says, and what it does not say by chance, a tenth to validate and a tenth to test. */
function partsOf(rows: readonly Kept[], seed: number, given: boolean): Record<Part, number[]> {
  const parts: Record<Part, number[]> = { train: [], validation: [], test: [] }
  const open: number[] = []
  rows.forEach(({ part, removed }, i) => {
    if (removed) return
    if (part === 'validation' || part === 'test') parts[part].push(i)
    else open.push(i)
  })
  const share = Math.min(0.1, HELD_OUT / Math.max(1, open.length))
  const validation = parts.validation.length > 0 ? 0 : share
  const test = given || parts.test.length > 0 ? 0 : share
  const chosen = splitRows(
    open.map((i) => rows[i]),
    { validation, test, seed },
  )
  open.forEach((i, at) => {
    parts[chosen[at]].push(i)
  })
  return parts
}

function checkClasses(rows: readonly Kept[], parts: Record<Part, number[]>, names: readonly string[]) {
  const present = new Set(parts.train.map((i) => rows[i].label))
  if (present.size === 1) throw fail('ONE_CLASS', { label: names[[...present][0]] })
  if (present.size === 0 || parts.validation.length === 0)
    throw fail('SPLIT_IMPOSSIBLE', { reason: `${rows.length} images are too few to hold some out` })
  for (const part of ['validation', 'test'] as const) {
    const strange = parts[part].find((i) => !present.has(rows[i].label))
    if (strange === undefined) continue
    const labels = [...present].map((i) => names[i]).join(', ')
    throw fail('LABEL_UNKNOWN', { source: `the ${part} split`, label: names[rows[strange].label], labels })
  }
}

interface Sums {
  all: number[]
  squares: number[]
  rows: number
}

function addTo(sums: Sums, pixels: Uint8Array, channels: number) {
  const size = pixels.length / channels
  for (let c = 0; c < channels; c++) {
    let [sum, square] = [0, 0]
    for (let i = c * size; i < (c + 1) * size; i++) {
      sum += pixels[i]
      square += pixels[i] * pixels[i]
    }
    sums.all[c] += sum
    sums.squares[c] += square
  }
  sums.rows++
}

/** Mean and deviation of each channel, of values between 0 and 1. */
function scaleOf({ all, squares, rows }: Sums, size: number) {
  const count = Math.max(1, rows * size)
  const mean = all.map((sum) => sum / count / 255)
  const deviation = squares.map((square, c) => Math.sqrt(Math.max(1e-6, square / count / 255 ** 2 - mean[c] ** 2)))
  const round = (value: number) => Number(value.toFixed(5))
  return { mean: mean.map(round), deviation: deviation.map(round) }
}
