import { fail } from '../base/errors.ts'
import { floatOf, intOf, intsOf, stringOf } from '../graph/attributes.ts'
import type { GraphBuilder, Value } from '../graph/builder.ts'
import type { NodeProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import type { Rewrite } from '../graph/upgrade.ts'
import { recurrentNodes } from './recurrent-nodes.ts'

const last = (x: Value) => x.shape.length - 1
const refuse = (node: NodeProto, what: string) =>
  fail('UNSUPPORTED', {
    what: `training through ${node.opType} "${node.name}" ${what}`,
    instead: 'Export the model without the optimisations of onnxruntime.',
  })

const gelu = (x: Value, tanh = false) => x.graph.node('Gelu', [x], tanh ? { approximate: 'tanh' } : {})[0]
const plus = (x: Value, bias: Value | undefined) => (bias ? o.add(x, bias) : x)
const swapped = (x: Value, swap: boolean) => {
  if (!swap) return x
  const order = [...x.shape.keys()]
  ;[order[order.length - 2], order[order.length - 1]] = [order.length - 1, order.length - 2]
  return o.transpose(x, order)
}
const scaled = (x: Value, factor: number) => (factor === 1 ? x : o.mul(x, factor))

/** Root mean square normalisation (Zhang & Sennrich 2019) over the last axis. */
function rmsNormalisation(x: Value, scale: Value, epsilon: number): Value {
  const square = o.reduceMean(o.mul(x, x), [last(x)], true)
  return o.mul(o.mul(x, o.reciprocal(o.sqrt(o.add(square, epsilon)))), scale)
}

/** The activation that a fused operator ends with, by its name and parameters. */
function activated(graph: GraphBuilder, node: NodeProto, x: Value): Value {
  const name = stringOf(node, 'activation', '')
  if (name === '') return x
  const parameters = node.attribute.find((one) => one.name === 'activation_params')?.floats ?? []
  if (name === 'Clip') return o.clip(x, parameters[0], parameters[1])
  const attributes: Record<string, readonly string[]> = { LeakyRelu: ['alpha'], HardSigmoid: ['alpha', 'beta'] }
  const named = (attributes[name] ?? []).map((key, i) => [
    key,
    { float: parameters[i] ?? floatOf(node, `activation_${key}`, 0) },
  ])
  if (!['Relu', 'Tanh', 'Sigmoid', 'HardSwish', ...Object.keys(attributes)].includes(name))
    throw refuse(node, `with the activation ${name}`)
  return graph.node(name, [x], Object.fromEntries(named))[0]
}

const without = (node: NodeProto, names: RegExp) => ({
  ...node,
  domain: '',
  attribute: node.attribute.filter(({ name }) => !names.test(name)),
})

/** Normalised sum of x and what goes past, as the fused operators give it: the result, two statistics, the sum. */
const skip =
  (normalise: (x: Value, node: NodeProto, inputs: readonly (Value | undefined)[]) => Value, biasAt: number): Rewrite =>
  (_graph, node, inputs) => {
    const total = plus(o.add(inputs[0]!, inputs[1]!), inputs[biasAt])
    if (node.output.slice(1, 3).some((name) => name !== '')) throw refuse(node, 'that gives its statistics')
    const result = normalise(total, node, inputs)
    return node.output.map((_, i) => (i === 3 ? total : result))
  }

/** Multi-head attention of one input with itself (com.microsoft:Attention), without a cache. */
const attention: Rewrite = (_graph, node, [x, weight, bias, mask, past, extra]) => {
  if (past || node.output.length > 1) throw refuse(node, 'with a cache')
  const heads = intOf(node, 'num_heads', 1)
  const sizes = intsOf(node, 'qkv_hidden_sizes') ?? Array<number>(3).fill(Number(weight!.shape[1]) / 3)
  const [q, k, v] = o.split(plus(o.matMul(x!, weight!), bias), sizes, 2).map((part) => {
    const each = Number(part.shape[2]) / heads
    return o.transpose(o.reshape(part, [0, 0, heads, each]), [0, 2, 1, 3]) // (batch, heads, time, each)
  })
  const scale = floatOf(node, 'scale', 0) || 1 / Math.sqrt(Number(q.shape[3]))
  let scores = o.mul(o.matMul(q, swapped(k, true)), scale) // (batch, heads, time, time)
  const filter = floatOf(node, 'mask_filter_value', -10_000)
  if (extra) scores = o.add(scores, extra)
  const time = o.squeeze(o.dimension(x!, 1), [0])
  const places = o.range(o.scalarLike(time, 0), time, o.scalarLike(time, 1))
  if (mask) {
    const valid =
      mask.shape.length === 2
        ? o.greater(mask, 0)
        : mask.shape.length === 1 && mask.shape[0] === x!.shape[0]
          ? o.less(places, o.unsqueeze(o.cast(mask, 'int64'), [1]))
          : undefined
    if (!valid) throw refuse(node, `with a mask of shape [${mask.shape}]`)
    scores = o.add(scores, o.unsqueeze(o.where(valid, o.scalarLike(scores, 0), filter), [1, 2]))
  }
  if (intOf(node, 'unidirectional', 0) === 1) {
    const earlier = o.lessOrEqual(o.unsqueeze(places, [0]), o.unsqueeze(places, [1]))
    scores = o.add(scores, o.where(earlier, o.scalarLike(scores, 0), filter))
  }
  const heard = o.transpose(o.matMul(o.softmax(scores), v), [0, 2, 1, 3])
  return [o.reshape(heard, [0, 0, sizes[2]])]
}

const layerNormalisation =
  (epsilonOf: (node: NodeProto) => number) => (x: Value, node: NodeProto, inputs: readonly (Value | undefined)[]) =>
    o.layerNormalization(x, inputs[2]!, inputs[3], { epsilon: epsilonOf(node) })
const epsilonOf = (absent: number) => (node: NodeProto) => floatOf(node, 'epsilon', absent)

/** Fused operators, and what is newer than our operator set, in terms of operators that have gradient rules. */
export const decompositions: Record<string, Rewrite> = {
  'com.microsoft:Gelu': (_graph, _node, [x]) => [gelu(x!)],
  'com.microsoft:FastGelu': (_graph, _node, [x, bias]) => [gelu(plus(x!, bias), true)],
  'com.microsoft:BiasGelu': (_graph, _node, [x, bias]) => [gelu(plus(x!, bias))],
  'com.microsoft:QuickGelu': (_graph, node, [x]) => [o.mul(x!, o.sigmoid(o.mul(x!, floatOf(node, 'alpha', 1.702))))],
  'com.microsoft:FusedMatMul': (_graph, node, [a, b]) => {
    if (intOf(node, 'transBatchA', 0) || intOf(node, 'transBatchB', 0)) throw refuse(node, 'with exchanged batch axes')
    const product = o.matMul(swapped(a!, intOf(node, 'transA', 0) === 1), swapped(b!, intOf(node, 'transB', 0) === 1))
    return [scaled(product, floatOf(node, 'alpha', 1))]
  },
  'com.microsoft:FusedGemm': (graph, node, inputs) => [
    activated(graph, node, graph.copy({ ...without(node, /^activation/), opType: 'Gemm' }, inputs)[0]),
  ],
  'com.microsoft:FusedConv': (graph, node, [x, weight, bias, past]) => {
    const [y] = graph.copy({ ...without(node, /^activation/), opType: 'Conv' }, [x, weight, bias])
    return [activated(graph, node, plus(y, past))]
  },
  'com.microsoft:SkipLayerNormalization': skip(layerNormalisation(epsilonOf(1e-12)), 4),
  'com.microsoft:SkipSimplifiedLayerNormalization': skip(
    (x, node, inputs) => rmsNormalisation(x, inputs[2]!, epsilonOf(1e-5)(node)),
    3,
  ),
  SimplifiedLayerNormalization: (_graph, node, [x, scale]) => [rmsNormalisation(x!, scale!, epsilonOf(1e-5)(node))],
  RMSNormalization: (_graph, node, [x, scale]) => [rmsNormalisation(x!, scale!, epsilonOf(1e-5)(node))],
  'com.microsoft:Attention': attention,
  ...recurrentNodes,
}
