import type { Tensor } from '../graph/tensor.ts'
import { type Prediction, rank } from '../serve/deployments.ts'
import { toValues } from './data.ts'

type Answered = Pick<Prediction, 'manifest' | 'output'>

/** What the native door answers: for each text its labels, vector, words or stretches; for a plain graph, tensors by name. */
export function nativeOutputs({ manifest, output }: Answered, topK?: number): unknown {
  const { labels } = manifest
  switch (output.kind) {
    case 'texts':
    case 'images':
      return Array.from({ length: output.probabilities.length / labels.length }, (_, row) =>
        rank(labels, output.probabilities, row, topK),
      )
    case 'vectors':
      return vectorsOf(output).map((vector) => Array.from(vector))
    case 'fills':
      return output.fills
    case 'entities':
      return output.entities
    case 'tensors':
      return Object.fromEntries(
        Object.entries(output.outputs).map(([name, tensor]) => [
          name,
          { dtype: tensor.dtype, shape: tensor.dims, data: toValues(tensor) },
        ]),
      )
  }
}

/** One vector a text. */
const vectorsOf = ({ vectors, width }: { vectors: Float32Array; width: number }): Float32Array[] =>
  Array.from({ length: vectors.length / width }, (_, row) => vectors.subarray(row * width, (row + 1) * width))

/** The same as tensors: label, score and probabilities of classes, embeddings, or JSON for each text. */
export function tensorOutputs({ manifest, output }: Answered): Record<string, Tensor> {
  const { labels } = manifest
  const texts = (values: unknown[]): Tensor => ({
    dtype: 'string',
    dims: [values.length],
    data: values.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))),
  })
  switch (output.kind) {
    case 'texts':
    case 'images': {
      const rows = output.probabilities.length / labels.length
      const best = Array.from({ length: rows }, (_, row) => rank(labels, output.probabilities, row, 1)[0])
      return {
        label: texts(best.map(({ label }) => label)),
        score: { dtype: 'float32', dims: [rows], data: Float32Array.from(best, ({ score }) => score) },
        probabilities: { dtype: 'float32', dims: [rows, labels.length], data: output.probabilities },
      }
    }
    case 'vectors': {
      const { vectors, width } = output
      return { embeddings: { dtype: 'float32', dims: [vectors.length / width, width], data: vectors } }
    }
    case 'fills':
      return { fills: texts(output.fills) }
    case 'entities':
      return { entities: texts(output.entities) }
    case 'tensors':
      return output.outputs
  }
}
