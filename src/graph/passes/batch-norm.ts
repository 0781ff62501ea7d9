import { floatOf, intOf } from '../attributes.ts'
import { Edit } from '../edit.ts'
import type { ModelProto, NodeProto } from '../gen/onnx_pb.js'
import { float32, numbers } from '../tensor.ts'

/**
 * Folds each BatchNormalization (Ioffe & Szegedy 2015) in inference form into the Conv or Gemm before it, where nothing
 * else uses what that gives: y = (x - mean) · scale / √(variance + ε) + bias is linear in each channel.
 */
export function mergeBatchNorm(model: ModelProto): ModelProto {
  const edit = new Edit(model)
  const [producers, uses] = [edit.producers(), edit.uses()]
  for (const norm of edit.nodes.filter(isInference)) {
    const before = producers.get(norm.input[0])
    if (!before || uses.get(norm.input[0])?.length !== 1) continue
    const layer = linearLayer(edit, before)
    const [scale, bias, mean, variance] = norm.input.slice(1, 5).map((name) => edit.tensor(name))
    if (!layer || !scale || !bias || !mean || !variance) continue
    const [gammas, betas, means, variances] = [scale, bias, mean, variance].map(numbers)
    const factors = gammas.map((gamma, c) => gamma / Math.sqrt(variances[c] + floatOf(norm, 'epsilon', 1e-5)))
    if (factors.length !== layer.channels) continue
    const weight = edit.tensor(before.input[1])!
    const old = before.input[2] ? numbers(edit.tensor(before.input[2])!) : means.map(() => 0)
    const scaled = Float32Array.from(weight.data as Float32Array, (value, i) => value * factors[layer.channelOf(i)])
    const shifted = means.map((m, c) => (old[c] - m) * factors[c] + betas[c])
    const names = [
      edit.store(before.input[1], float32(weight.dims, scaled)),
      edit.store(`${before.input[1]}.bias`, float32([shifted.length], shifted)),
    ]
    const merged = { ...before, input: [before.input[0], ...names], output: [norm.output[0]] }
    edit.replace(norm, [merged])
    producers.set(norm.output[0], merged)
  }
  return edit.finish()
}

const isInference = (node: NodeProto) =>
  node.opType === 'BatchNormalization' && node.output.length === 1 && intOf(node, 'training_mode', 0) === 0

/** How the weight of a Conv or Gemm with stored float32 weights is laid out over output channels. */
function linearLayer(edit: Edit, node: NodeProto) {
  const [dims, weight] = [edit.dims(node.input[1]), edit.dims(node.input[1]) && edit.tensor(node.input[1])]
  if (!dims || weight?.dtype !== 'float32') return undefined
  if (node.input[2] && edit.dims(node.input[2])?.length !== 1) return undefined
  if (node.opType === 'Conv') {
    const each = dims.slice(1).reduce((a, b) => a * b, 1)
    return { channels: dims[0], channelOf: (i: number) => Math.floor(i / each) }
  }
  if (node.opType !== 'Gemm' || floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) return undefined
  const columns = dims[1]
  return intOf(node, 'transB', 0) === 1
    ? { channels: dims[0], channelOf: (i: number) => Math.floor(i / columns) }
    : { channels: columns, channelOf: (i: number) => i % columns }
}
