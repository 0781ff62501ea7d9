import type { Value } from '../../graph/builder.ts'
import type { GraphProto, NodeProto } from '../../graph/gen/onnx_pb.js'
import * as o from '../../graph/ops.ts'

export type Activation = 'probabilities' | 'sigmoid' | 'scores'

/** What the last node that changes values is. */
export function finalActivation(graph: GraphProto, name: string): Activation {
  const makers = new Map(graph.node.flatMap((node) => node.output.map((output): [string, NodeProto] => [output, node])))
  for (let node = makers.get(name); node; node = makers.get(node.input[0])) {
    if (node.opType === 'Softmax') return 'probabilities'
    if (node.opType === 'Sigmoid') return 'sigmoid'
    if (!['Identity', 'Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'].includes(node.opType)) return 'scores'
  }
  return 'scores'
}

/** Scores (batch, width) as probabilities of classes; one score becomes two classes. */
export function probabilities(scores: Value, last: Activation): Value {
  const width = Number(scores.shape[1])
  if (width > 1)
    return last === 'scores'
      ? o.softmax(scores)
      : last === 'sigmoid'
        ? o.div(scores, o.reduceSum(scores, [1], true))
        : scores
  const yes = last === 'scores' ? o.sigmoid(scores) : scores
  return o.concat([o.sub(1, yes), yes], 1)
}
