import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type Sharp from 'sharp'
import '../../base/no-telemetry.ts' // it brings an onnxruntime of its own
import { fail } from '../../base/errors.ts'

/** What is used of transformers.js 4, which is not part of the installation. */
interface Transformers {
  readonly env: object
  pipeline(task: string, model: string, options: object): Promise<Pipeline>
  readonly RawImage: new (data: Uint8Array, width: number, height: number, channels: number) => RawImage
}
interface RawImage {
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
  readonly channels: 1 | 2 | 3 | 4
}
type Pipeline = (...given: unknown[]) => Promise<unknown>

export interface Library extends Transformers {
  /** Throws IMAGE_INVALID. */
  readImage(file: Uint8Array): Promise<RawImage>
  /** In base64. */
  writePng(image: RawImage): Promise<string>
}

const PIXEL_LIMIT = 64_000_000

/** Loads the library from its folder. Throws ENGINE_MISSING. */
export async function loadTransformers(folder: string | undefined): Promise<Library> {
  try {
    const within = createRequire(join(folder ?? '', 'package.json'))
    const bring = async (name: string) => import(pathToFileURL(within.resolve(name)).href)
    const library = (await bring('@huggingface/transformers')) as Transformers
    // the one it brings: two of it in one process do not get on
    const { default: sharp } = (await bring('sharp')) as { default: typeof Sharp }
    sharp.block({ operation: ['VipsForeignLoad'] })
    sharp.unblock({ operation: ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Tiff'].map((format) => `VipsForeignLoad${format}`) })
    return { ...library, ...images(library, sharp) }
  } catch (error) {
    const instead = 'Install it again: athanor engines install transformers'
    throw fail('ENGINE_MISSING', { engine: 'transformers', instead }, { cause: error })
  }
}

const images = ({ RawImage }: Transformers, sharp: typeof Sharp): Pick<Library, 'readImage' | 'writePng'> => ({
  async readImage(file) {
    try {
      const { data, info } = await sharp(file, { limitInputPixels: PIXEL_LIMIT, failOn: 'truncated' })
        .autoOrient()
        .flatten({ background: 'white' })
        .toColourspace('srgb')
        .raw({ depth: 'uchar' })
        .toBuffer({ resolveWithObject: true })
      return new RawImage(data, info.width, info.height, info.channels)
    } catch (error) {
      throw fail('IMAGE_INVALID', { source: 'image', reason: 'it cannot be decoded' }, { cause: error })
    }
  },
  async writePng({ data, width, height, channels }) {
    const png = await sharp(data, { raw: { width, height, channels } }).png().toBuffer()
    return png.toString('base64')
  },
})
