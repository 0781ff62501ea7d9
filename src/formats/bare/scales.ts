/** How a model was trained to see pixels: bytes as they are, from 0 to 1, from -1 to 1, or by ImageNet's mean and deviation. */
export const pixelScales = ['bytes', 'unit', 'signed', 'imagenet'] as const
export type PixelScale = (typeof pixelScales)[number]

/** Subtracted from values between 0 and 1, a number a channel; then divided by the deviation. */
export const scales: Record<PixelScale, { mean: number[]; deviation: number[] }> = {
  bytes: { mean: [0, 0, 0], deviation: [1 / 255, 1 / 255, 1 / 255] },
  unit: { mean: [0, 0, 0], deviation: [1, 1, 1] },
  signed: { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] },
  imagenet: { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] },
}
