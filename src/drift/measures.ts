import { random } from '../base/random.ts'

/** What one request's image, vector or row of numbers measures, by name, and the class probabilities where there are some. */
export interface Measured {
  measures: Readonly<Record<string, number>>
  probabilities?: ArrayLike<number>
}

/** What a change of a measure means; those of tensors are told by the name of the number. */
export const meanings: Readonly<Record<string, string>> = {
  brightness: 'images are brighter or darker',
  contrast: 'images have more or less contrast',
  detail: 'images are sharper or smoother',
  colour: 'images are more or less colourful',
  similarity: 'texts are about other things',
}

/** Pixels of a plane that are looked at; more says nothing more. */
const PIXELS = 4_096

/** Brightness, contrast, detail and, of three planes, colour of an image: bytes plane by plane (channels · height · width). */
export function imageMeasures(pixels: Uint8Array, channels: number): Record<string, number> {
  const size = pixels.length / channels
  const step = Math.max(1, Math.floor(size / PIXELS))
  let [sum, squares, changes, colours, count] = [0, 0, 0, 0, 0]
  for (let i = 0; i < size; i += step) {
    let [light, least, most] = [0, 255, 0]
    for (let c = 0; c < channels; c++) {
      const value = pixels[c * size + i]
      light += value
      if (value < least) least = value
      if (value > most) most = value
    }
    light /= channels
    sum += light
    squares += light * light
    colours += most - least
    if (i + 1 < size) changes += Math.abs(pixels[i + 1] - pixels[i])
    count++
  }
  const mean = sum / count
  return {
    brightness: mean,
    contrast: Math.sqrt(Math.max(0, squares / count - mean * mean)),
    detail: changes / count,
    ...(channels > 1 && { colour: colours / count }),
  }
}

/** Directions that vectors are projected on, beside that of the reference's mean. */
const DIRECTIONS = 6
const directions = new Map<number, readonly Float64Array[]>()

/** Signs of fixed random directions for vectors of a width (Achlioptas 2003), the same in every process. */
function directionsOf(width: number): readonly Float64Array[] {
  const known = directions.get(width)
  if (known) return known
  const next = random(width)
  const made = Array.from({ length: DIRECTIONS }, () =>
    Float64Array.from({ length: width }, () => (next() < 0.5 ? -1 : 1) / Math.sqrt(width)),
  )
  directions.set(width, made)
  return made
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

/** The mean of vectors of one width. */
export function centroidOf(vectors: readonly ArrayLike<number>[]): number[] {
  const sum = new Array<number>(vectors[0].length).fill(0)
  for (const vector of vectors) for (let i = 0; i < sum.length; i++) sum[i] += vector[i]
  return sum.map((value) => value / vectors.length)
}

/** Cosine of a vector with the mean of the reference's, and where it lies along some directions. */
export function vectorMeasures(vector: ArrayLike<number>, centroid: readonly number[]): Record<string, number> {
  const lengths = Math.sqrt(dot(vector, vector) * dot(centroid, centroid))
  const along = directionsOf(centroid.length).map((one, i) => [`direction ${i + 1}`, dot(vector, one)])
  return { similarity: lengths > 0 ? dot(vector, centroid) / lengths : 0, ...Object.fromEntries(along) }
}

/** Numbers of a row that are each told apart; of longer rows only what they come to. */
const APART = 32

/** One row of a tensor: `x[3]` each number, of rows longer than 32 their mean, spread and share that is no number. */
export function* rowMeasures(name: string, row: ArrayLike<number | bigint>): Generator<[string, number]> {
  if (row.length === 0) return
  if (row.length <= APART) {
    for (let i = 0; i < row.length; i++) yield [row.length === 1 ? name : `${name}[${i}]`, Number(row[i])]
    return
  }
  let [sum, squares, count] = [0, 0, 0]
  for (let i = 0; i < row.length; i++) {
    const value = Number(row[i])
    if (!Number.isFinite(value)) continue
    sum += value
    squares += value * value
    count++
  }
  const mean = sum / Math.max(1, count)
  yield [`${name} mean`, mean]
  yield [`${name} spread`, Math.sqrt(Math.max(0, squares / Math.max(1, count) - mean * mean))]
  yield [`${name} missing`, 1 - count / row.length]
}
