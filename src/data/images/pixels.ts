import sharp, { type Sharp } from 'sharp'
import { fail } from '../../base/errors.ts'
import { IMAGE_BYTES } from './names.ts'

/** The image transform that travels with a model: same size, channels and scale in training and in serving. */
export interface ImagePipelineConfig {
  height: number
  width: number
  /** 1 for shades of grey, 3 for red, green and blue. */
  channels: 1 | 3
  /** How an image of another shape is brought to size: its middle, all of it with black beside, or stretched. */
  fit: 'cover' | 'contain' | 'fill'
  /** Subtracted from values between 0 and 1, a number a channel; then divided by the deviation. */
  mean: number[]
  deviation: number[]
}

/** Pixels that need no decoding, e.g. those of an idx file: rows from the top, channels together. */
interface RawImage {
  data: Uint8Array
  height: number
  width: number
  channels: 1 | 3
}
export type ImageContent = Uint8Array | RawImage
type Target = Pick<ImagePipelineConfig, 'height' | 'width' | 'channels' | 'fit'>

const PIXEL_LIMIT = 64_000_000

// libvips reads many formats, some of which name other files: these few are enough
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({
  operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Tiff', 'Heif'].map((format) => `VipsForeignLoad${format}`),
})
sharp.cache(false) // no image is read twice

/** Height, width and channels (1 or 3) of an image from its header; throws IMAGE_INVALID naming `source`. */
export async function measure(
  content: ImageContent,
  source: string,
): Promise<{ height: number; width: number; channels: 1 | 3 }> {
  if (!(content instanceof Uint8Array)) return content
  const { autoOrient, space } = await reading(source, () => open(content, source).metadata())
  return { ...autoOrient, channels: space === 'b-w' || space === 'grey16' ? 1 : 3 }
}

/**
 * The image at the target's size, decoded and turned upright, transparency on white: bytes plane by plane (channels ·
 * height · width). Throws IMAGE_INVALID or IMAGE_TOO_LARGE naming `source`.
 */
export async function toPixels(content: ImageContent, target: Target, source: string): Promise<Uint8Array> {
  const { height, width, channels, fit } = target
  const raw = content instanceof Uint8Array ? undefined : content
  if (raw && raw.height === height && raw.width === width && raw.channels === channels) return planesOf(raw)
  const { data } = await reading(source, () =>
    open(content, source)
      .autoOrient()
      .flatten({ background: 'white' })
      .resize({ height, width, fit, background: 'black' })
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true }),
  )
  return channels === 1 ? data : planes(data, channels)
}

function open(content: ImageContent, source: string): Sharp {
  if (!(content instanceof Uint8Array)) {
    const { data, height, width, channels } = content
    return sharp(data, { raw: { height, width, channels } })
  }
  if (content.byteLength > IMAGE_BYTES)
    throw fail('IMAGE_TOO_LARGE', { source, what: `${content.byteLength} bytes`, limit: `${IMAGE_BYTES} bytes` })
  return sharp(content, { limitInputPixels: PIXEL_LIMIT, failOn: 'truncated', sequentialRead: true })
}

async function reading<T>(source: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const { message } = error as Error
    if (/pixel limit/.test(message))
      throw fail('IMAGE_TOO_LARGE', { source, what: 'its pixels', limit: `${PIXEL_LIMIT / 1e6} million` })
    if (
      /^(Input|Vips|.*(load|buffer|corrupt|truncated|unsupported))/i.test(message) &&
      !('status' in (error as object))
    )
      throw fail('IMAGE_INVALID', { source }, { cause: error })
    throw error
  }
}

/** The planes of an image that needs no decoding and has the right size. */
export const planesOf = ({ data, channels }: RawImage): Uint8Array => (channels === 1 ? data : planes(data, channels))

/** Interleaved channels → one plane after another. */
function planes(data: Uint8Array, channels: number): Uint8Array {
  const size = data.length / channels
  const result = new Uint8Array(data.length)
  for (let c = 0; c < channels; c++) for (let i = 0; i < size; i++) result[c * size + i] = data[i * channels + c]
  return result
}

/** Writes an image's planes as the numbers that a model takes, (value / 255 - mean) / deviation, from `at` on. */
export function standardise(
  pixels: Uint8Array,
  { mean, deviation }: Pick<ImagePipelineConfig, 'mean' | 'deviation'>,
  into: Float32Array,
  at: number,
) {
  const size = pixels.length / mean.length
  for (let c = 0, i = 0; c < mean.length; c++) {
    const [factor, shift] = [1 / (255 * deviation[c]), mean[c] / deviation[c]]
    for (const end = i + size; i < end; i++) into[at + i] = pixels[i] * factor - shift
  }
}
