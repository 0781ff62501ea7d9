import type { NodeProto } from '../../graph/gen/onnx_pb.js'
import type { Shape } from '../../graph/shape.ts'
import type { DataType, Tensor } from '../../graph/tensor.ts'
import type { TfGraph } from './graphdef.ts'

/** A node that is written: its inputs in the TensorFlow graph, and what is known of them. */
export interface Writing {
  readonly g: TfGraph
  readonly node: NodeProto
  /** Inputs by their TensorFlow names; '' where absent. */
  readonly inputs: readonly string[]
  /** The type of the i-th input, as in the TensorFlow graph. */
  type(i: number): DataType
  shape(i: number): Shape
  /** The i-th input, if it is stored. */
  stored(i: number): Tensor | undefined
  /** The names of its outputs are what a rule returns. */
  refuse(why: string): never
}
export type Rule = (w: Writing) => string | string[]
