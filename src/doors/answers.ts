import { toValues } from '../graph/values.ts'
import type { Prediction } from '../serve/deployments.ts'
import { rank } from '../serve/rank.ts'

type Answered = Pick<Prediction, 'manifest' | 'output'>

/** What the native door answers: for each text its labels, vector, words or stretches; for a plain graph, tensors by name. */
export function nativeOutputs({ manifest, output }: Answered, topK?: number): unknown {
  switch (output.kind) {
    case 'texts':
    case 'images':
      return Array.from({ length: output.probabilities.length / manifest.labels.length }, (_, row) =>
        rank(manifest, output.probabilities, row, topK),
      )
    case 'vectors':
      return vectorsOf(output).map((vector) => Array.from(vector))
    case 'fills':
      return output.fills
    case 'entities':
      return output.entities
    case 'hub':
      return output.value
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
