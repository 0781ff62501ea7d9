import { gunzipSync } from 'node:zlib'
import { fail } from '../../base/errors.ts'
import type { IdxName } from './names.ts'
import type { LabelledImage } from './source.ts'

const SIZE_LIMIT = 2 ** 30

/** Dimensions and bytes of an idx file of unsigned bytes, gzipped or not; throws DATA_MALFORMED. */
function readIdx(file: Buffer, source: string, rank: number): { dims: number[]; data: Uint8Array } {
  const refuse = (reason: string) => fail('DATA_MALFORMED', { source, reason })
  let bytes = file
  if (file[0] === 0x1f && file[1] === 0x8b) {
    try {
      bytes = gunzipSync(file, { maxOutputLength: SIZE_LIMIT })
    } catch {
      throw refuse(`not gzip data of at most ${SIZE_LIMIT >> 20} MiB`)
    }
  }
  const start = 4 + 4 * rank
  if (bytes.length < start || bytes.readUInt32BE(0) !== 0x800 + rank)
    throw refuse(`not an idx file of unsigned bytes with ${rank} dimension${rank > 1 ? 's' : ''}`)
  const dims = Array.from({ length: rank }, (_, i) => bytes.readUInt32BE(4 + 4 * i))
  const count = dims.reduce((a, b) => a * b, 1)
  if (bytes.length - start !== count) throw refuse(`${bytes.length - start} bytes where ${count} are announced`)
  return { dims, data: bytes.subarray(start) }
}

/** The images of a pair of idx files, labelled with their digits. */
export function* idxImages(
  images: { name: string; content: Buffer },
  labels: { name: string; content: Buffer },
  part: IdxName['part'],
): Generator<LabelledImage> {
  const { dims, data } = readIdx(images.content, images.name, 3)
  const answers = readIdx(labels.content, labels.name, 1)
  const [count, height, width] = dims
  if (answers.dims[0] !== count) {
    const reason = `${answers.dims[0]} labels for ${count} images`
    throw fail('DATA_MALFORMED', { source: labels.name, reason })
  }
  const size = height * width
  for (let i = 0; i < count; i++) {
    const content = { data: data.subarray(i * size, (i + 1) * size), height, width, channels: 1 as const }
    yield { name: `${images.name}[${i}]`, label: String(answers.data[i]), part, content }
  }
}
