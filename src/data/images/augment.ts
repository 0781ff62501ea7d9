import { streamOf, uniformAt } from '../../base/counter.ts'

/** How training images are varied: moved by up to `shift` pixels each way (black comes in), mirrored at random. */
export interface Augmentation {
  shift: number
  flip: boolean
}

/** Varies the image of a row: planes in, planes out (channels · height · width). Equal seeds, epochs and rows vary alike. */
export type Vary = (pixels: Uint8Array, row: number) => Uint8Array

/** The variation of one epoch's images, from (seed, epoch, row) alone. */
export function augmentation(
  { shift, flip }: Augmentation,
  size: { channels: number; height: number; width: number },
  seed: number,
  epoch: number,
): Vary {
  const stream = streamOf(`augment ${epoch}`)
  const { channels, height, width } = size
  return (pixels, row) => {
    const [across, down, mirror] = [0, 1, 2].map((i) => uniformAt(seed, stream, 3 * row + i))
    const [dx, dy] = [across, down].map((part) => Math.floor(part * (2 * shift + 1)) - shift)
    const turned = flip && mirror < 0.5
    if (dx === 0 && dy === 0 && !turned) return pixels
    const result = new Uint8Array(pixels.length)
    for (let c = 0; c < channels; c++) {
      const plane = c * height * width
      for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++) {
        const [to, from] = [plane + y * width, plane + (y + dy) * width]
        for (let x = Math.max(0, -dx); x < Math.min(width, width - dx); x++)
          result[to + (turned ? width - 1 - x : x)] = pixels[from + x + dx]
      }
    }
    return result
  }
}
