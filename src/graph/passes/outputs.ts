import { fail } from '../../base/errors.ts'
import { Edit } from '../edit.ts'
import type { ModelProto } from '../gen/onnx_pb.js'

/** Keeps only the named outputs, and what they depend on. Throws MODEL_INVALID when one of them is not there. */
export function keepOutputs(model: ModelProto, names: readonly string[]): ModelProto {
  const edit = new Edit(model)
  const missing = names.find((name) => !edit.graph.output.some((output) => output.name === name))
  if (missing !== undefined) throw fail('MODEL_INVALID', { reason: `it has no output "${missing}"` })
  edit.graph.output = edit.graph.output.filter(({ name }) => names.includes(name))
  return edit.finish()
}

/** Removes nodes and tensors that no output needs. */
export const removeDeadCode = (model: ModelProto): ModelProto => new Edit(model).finish()
