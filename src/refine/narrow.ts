import { random } from '../base/random.ts'

/** Rows that directions are found by, and how often they are turned towards those of most weight. */
const [SAMPLED, TURNS] = [4096, 12]

/**
 * Vectors (rows, width) in fewer numbers: their coordinates along the directions that keep most of their products with each
 * other, found by orthogonal iteration on their second moments. Float32 (rows, to), `to` ≤ width.
 */
export function narrowed(table: Float32Array, width: number, to: number): Float32Array {
  const rows = table.length / width
  const moments = momentsOf(table, width, rows)
  const next = random(1)
  let basis: Float64Array[] = Array.from({ length: to }, () => Float64Array.from({ length: width }, () => next() - 0.5))
  for (let turn = 0; turn < TURNS; turn++) basis = orthonormal(basis.map((vector) => product(moments, vector)))
  const result = new Float32Array(rows * to)
  for (let row = 0; row < rows; row++) {
    const vector = table.subarray(row * width, (row + 1) * width)
    for (let k = 0; k < to; k++) result[row * to + k] = dot(vector, basis[k])
  }
  return result
}

/** Σ of the outer products of some rows, spread evenly: (width, width). */
function momentsOf(table: Float32Array, width: number, rows: number): Float64Array[] {
  const moments = Array.from({ length: width }, () => new Float64Array(width))
  const count = Math.min(rows, SAMPLED)
  for (let n = 0; n < count; n++) {
    const row = Math.floor((n * rows) / count) * width
    for (let i = 0; i < width; i++) {
      const [value, sums] = [table[row + i], moments[i]]
      for (let j = 0; j < width; j++) sums[j] += value * table[row + j]
    }
  }
  return moments
}

const product = (matrix: readonly Float64Array[], vector: Float64Array) =>
  Float64Array.from(matrix, (row) => dot(row, vector))

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

/** Gram and Schmidt's vectors of the same span; what is none of its own stays out as zeros. */
function orthonormal(vectors: readonly Float64Array[]): Float64Array[] {
  const result: Float64Array[] = []
  for (const vector of vectors) {
    const rest = vector.slice()
    const whole = Math.sqrt(dot(rest, rest))
    for (const known of result) {
      const share = dot(rest, known)
      for (let i = 0; i < rest.length; i++) rest[i] -= share * known[i]
    }
    const length = Math.sqrt(dot(rest, rest))
    result.push(rest.map((value) => (length > 1e-9 * whole ? value / length : 0)))
  }
  return result
}
