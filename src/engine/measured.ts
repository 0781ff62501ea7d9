import type { Manifest } from '../bundle/manifest.ts'
import { type Measured, rowMeasures } from '../drift/measures.ts'
import type { Tensor } from '../graph/tensor.ts'

/** Rows of one request that are counted while it is served. */
const ROWS = 64

type Numbers = ArrayLike<number | bigint> & { subarray(from: number, to: number): ArrayLike<number | bigint> }
type Tensors = Readonly<Record<string, Pick<Tensor, 'dims' | 'data'>>>

/**
 * What each row of a plain graph's inputs measures (without an axis of rows, the whole request), with what it answers: class
 * probabilities where it has labels, else its numbers. Texts within tensors are not measured.
 */
export function* tensorRows(
  { signature, labels }: Pick<Manifest, 'signature' | 'labels'>,
  inputs: Tensors,
  outputs: Tensors,
  most = ROWS,
): Generator<Measured> {
  const batched = signature.inputs.every(({ shape }) => typeof shape[0] === 'string')
  const rows = batched ? Math.min(...Object.values(inputs).map(({ dims }) => dims[0] ?? 1)) : 1
  if (rows === 0) return
  const told = labels.length > 1 ? classesOf(outputs, rows * labels.length) : undefined
  const named = Object.entries({ ...inputs, ...(labels.length > 1 ? {} : outputs) }).filter(
    ([, { data }]) => !Array.isArray(data) && data.length % rows === 0,
  ) as [string, { data: Numbers }][]
  for (let row = 0; row < Math.min(rows, most); row++) {
    const measures: Record<string, number> = {}
    for (const [name, { data }] of named) {
      const size = data.length / rows
      for (const [measure, value] of rowMeasures(name, data.subarray(row * size, (row + 1) * size)))
        measures[measure] = value
    }
    const scores = told?.subarray(row * labels.length, (row + 1) * labels.length)
    yield { measures, ...(scores && { probabilities: probabilitiesOf(scores) }) }
  }
}

/** The output that has a number for each class of each row. */
function classesOf(outputs: Tensors, size: number): Float32Array | undefined {
  for (const { data } of Object.values(outputs)) if (data instanceof Float32Array && data.length === size) return data
  return undefined
}

/** Scores as they are where they are probabilities already, else their softmax. */
function probabilitiesOf(scores: Float32Array): Float32Array {
  const sum = scores.reduce((a, b) => a + b, 0)
  if (Math.abs(sum - 1) < 1e-3 && scores.every((score) => score >= 0)) return scores
  const top = Math.max(...scores)
  const powers = scores.map((score) => Math.exp(score - top))
  const all = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / all)
}
