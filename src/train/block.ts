import { blockConvolutions } from '../autograd/blocked.ts'
import { blockProducts } from '../autograd/blocked-products.ts'
import ort from '../base/onnxruntime.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'

let known: Promise<number> | undefined

/** How many channels a block has in the layout of onnxruntime's fastest convolutions here (8 or 16); 1 without one. */
export function blockSize(): Promise<number> {
  known ??= probe()
  return known
}

/** A model as it is run for `rows` rows at once: in the layout of blocks of this size. */
export const inBlocks = (model: ModelProto, block: number, rows: number): ModelProto =>
  blockProducts(blockConvolutions(model, block, rows), block)

/** A tensor of four channels, the fewest that are taken, is filled up to one block. */
async function probe(): Promise<number> {
  const graph = new GraphBuilder()
  const x = graph.input('x', 'float32', [1, 4, 1, 1])
  graph.output(graph.node('ReorderInput', [x], {}, 1, 'com.microsoft.nchwc')[0], 'y')
  try {
    const session = await ort.InferenceSession.create(writeModel(graph.build()), { logSeverityLevel: 4 })
    const { y } = await session.run({ x: new ort.Tensor('float32', new Float32Array(4), [1, 4, 1, 1]) })
    await session.release()
    return y.dims[1]
  } catch {
    return 1 // a build without this layout
  }
}
