import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { TensorSpec } from '../bundle/manifest.ts'
import type { Tensor } from '../graph/tensor.ts'

/**
 * Holds given tensors to a signature: all inputs there, no others, types equal, known dimensions equal, and a symbol the
 * same number wherever it stands. Throws TENSOR_INVALID naming the place.
 */
export function checkTensors(specs: readonly TensorSpec[], inputs: Record<string, Tensor>, model: string) {
  const invalid = (message: string, suggestion?: string) =>
    fail('TENSOR_INVALID', { message, model }, { ...(suggestion && { suggestion }) })
  const names = specs.map(({ name }) => name)
  for (const name of Object.keys(inputs)) {
    if (!names.includes(name))
      throw invalid(`inputs: the model has no input "${name.slice(0, 80)}"`, suggest(name, names))
  }
  const symbols = new Map<string, number>()
  for (const { name, dtype, shape } of specs) {
    const tensor = inputs[name]
    if (!tensor) throw invalid(`inputs: "${name}" is missing`)
    if (tensor.dtype !== dtype) throw invalid(`inputs.${name}: expected ${dtype}, got ${tensor.dtype}`)
    if (tensor.dims.length !== shape.length) {
      throw invalid(
        `inputs.${name}.shape: expected ${shape.length} dimensions [${shape.join(', ')}], got ${tensor.dims.length}`,
      )
    }
    shape.forEach((dim, i) => {
      const given = tensor.dims[i]
      const expected = typeof dim === 'number' ? dim : (symbols.get(dim) ?? given)
      if (given !== expected) throw invalid(`inputs.${name}.shape[${i}]: expected ${expected}, got ${given}`)
      if (typeof dim === 'string') symbols.set(dim, given)
    })
  }
}
