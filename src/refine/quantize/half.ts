import { Edit } from '../../graph/edit.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { toHalf } from '../../graph/half.ts'
import { dataTypes, tensor } from '../../graph/tensor.ts'

/** Tensors below this many numbers stay as they are. */
const LEAST_NUMBERS = 512

/**
 * Stores weights as half floats, each with a Cast to float32 before its use. onnxruntime computes on CPUs in float32 and
 * carries the Casts out once when it loads: half the file at the same speed and memory.
 */
export function storeHalf(model: ModelProto): ModelProto {
  const edit = new Edit(model)
  const casts = []
  for (const { name, dataType } of [...edit.graph.initializer]) {
    const dims = edit.dims(name)
    if (!dims || dataType !== dataTypes.float32.onnx || dims.reduce((a, b) => a * b, 1) < LEAST_NUMBERS) continue
    const values = edit.tensor(name)!.data as Float32Array
    if (values.some((value) => Math.abs(value) >= 65_504)) continue // beyond the range of half floats
    const stored = edit.store(`${name}.half`, tensor('float16', dims, toHalf(values)))
    const cast = edit.make('Cast', [stored], { to: dataTypes.float32.onnx })
    cast.output = [name]
    edit.graph.initializer = edit.graph.initializer.filter((one) => one.name !== name)
    casts.push(cast)
  }
  edit.graph.node = [...casts, ...edit.graph.node]
  return edit.finish()
}
