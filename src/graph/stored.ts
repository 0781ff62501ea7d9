import type { ModelProto } from './gen/onnx_pb.js'
import type { Tensor } from './tensor.ts'
import { fromProto } from './tensor-proto.ts'

/** Constants of a graph that is built here are named so; all other floats are weights. */
export const WEIGHTS = /^(?!(.*\/)?constant(\.\d+)?$)/

/** The float32 tensors that a graph stores, by name; constants of graphs that are built here are left out. */
export function storedWeights({ graph }: ModelProto): Record<string, Weight> {
  const found: Record<string, Weight> = {}
  for (const proto of graph?.initializer ?? []) {
    if (!WEIGHTS.test(proto.name) || proto.dataType !== FLOAT) continue
    found[proto.name] = fromProto(proto) as Weight
  }
  return found
}

interface Weight extends Tensor {
  readonly dtype: 'float32'
  readonly data: Float32Array
}
const FLOAT = 1
