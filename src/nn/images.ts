import type { Network } from '../autograd/training.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import { inferenceNetwork, type Weights } from './inference.ts'

/** The size of the images that a network takes. */
export interface ImageSize {
  channels: number
  height: number
  width: number
}

/** The input of every image classifier's graph: pixels float32 (batch, channels, height, width), standardised. */
export const pixelsInput = (graph: GraphBuilder, { channels, height, width }: ImageSize): Value =>
  graph.input('pixels', 'float32', ['batch', channels, height, width])

/** The trained model for serving: pixels → `logits` and `probabilities` (batch, classes), weights stored in the graph. */
export function imageInference(
  size: ImageSize,
  weights: Weights,
  build: (network: Network, pixels: Value) => Value,
): ModelProto {
  const graph = new GraphBuilder()
  const logits = build(inferenceNetwork(graph, weights), pixelsInput(graph, size))
  graph.output(logits, 'logits')
  graph.output(o.softmax(logits), 'probabilities')
  return graph.build('classifier')
}
