import { fail } from '../base/errors.ts'
import { headSizeOf } from '../nn/layers.ts'

interface Sizes {
  readonly width: number
  readonly heads: number
  readonly headSize?: number
}
type Weights = Readonly<Record<string, { readonly dims: readonly number[]; readonly data: Float32Array }>>

/** Matrices of attention by how many blocks of heads their rows hold; those that gather what heads heard hold them in their columns. */
const rowed = /attention\/(query|key|value|in)\/(weight|bias)$/
const gathered = /attention\/(out|output)\/weight$/

/**
 * A model whose heads make up its width: those that were pruned come back as zeros, whose values add nothing to any answer. For
 * layouts that have no word for fewer heads (GPT-2's, BERT's). Throws UNSUPPORTED where the size of a head does not divide the width.
 */
export function withWholeHeads<Model extends { readonly config: Sizes; readonly weights: Weights }>(
  model: Model,
): Model {
  const { config, weights } = model
  const { width } = config
  const size = headSizeOf(config)
  if (config.heads * size === width) return model
  if (width % size !== 0)
    throw fail('UNSUPPORTED', {
      what: `heads of ${size} in a width of ${width} in this layout`,
      instead: 'Export it as ONNX.',
    })
  const kept = config.heads * size
  const widened = Object.entries(weights).map(([path, { dims, data }]) => {
    const [rows, columns = 1] = dims
    if (rowed.test(path)) {
      const blocks = rows / kept // 3 where queries, keys and values lie in one
      const wide = new Float32Array(blocks * width * columns)
      for (let block = 0; block < blocks; block++)
        wide.set(data.subarray(block * kept * columns, (block + 1) * kept * columns), block * width * columns)
      return [path, { dims: [blocks * width, ...dims.slice(1)], data: wide }]
    }
    if (!gathered.test(path)) return [path, { dims, data }]
    const wide = new Float32Array(rows * width)
    for (let row = 0; row < rows; row++) wide.set(data.subarray(row * kept, (row + 1) * kept), row * width)
    return [path, { dims: [rows, width], data: wide }]
  })
  const { headSize: _size, ...sizes } = config
  return { ...model, config: { ...sizes, heads: width / size }, weights: Object.fromEntries(widened) }
}
