import { fail } from '../../base/errors.ts'
import { floatOf, intOf, stringOf } from '../../graph/attributes.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { operatorName } from '../../graph/operators.ts'
import { dataTypes } from '../../graph/tensor.ts'
import { gatherBlockQuantized, matMulNBits } from './blocks.ts'
import { gelu } from './opset.ts'
import { type Rule, rewrite, type Site, sweep } from './rewrite.ts'

/** An input with its last two axes swapped; needs its rank. */
function swapped(site: Site, name: string): string {
  const rank = site.shapeOf(name)?.length
  if (rank === undefined || rank < 2) return site.refuse('the rank of an input is not known')
  const perm = Array.from({ length: rank }, (_, i) => i)
  perm.push(...perm.splice(-2).reverse())
  return site.add('Transpose', [name], { perm })
}

const fusedMatMul: Rule = (site) => {
  const { node } = site
  if (intOf(node, 'transBatchA', 0) !== 0 || intOf(node, 'transBatchB', 0) !== 0)
    site.refuse('it transposes batch axes')
  const [a, b] = ['transA', 'transB'].map((name, i) =>
    intOf(node, name, 0) === 1 ? swapped(site, node.input[i]) : node.input[i],
  )
  const alpha = floatOf(node, 'alpha', 1)
  const product = site.add('MatMul', [a, b], {}, alpha === 1 ? [node.output[0]] : undefined)
  const dtype = site.typeOf(node.input[0]) ?? 'float32'
  if (alpha !== 1) site.add('Mul', [product, site.constant(dtype, [], [alpha])], {}, [node.output[0]])
}

const quickGelu: Rule = (site) => {
  const { node } = site
  const dtype = site.typeOf(node.input[0]) ?? 'float32'
  const scaled = site.add('Mul', [node.input[0], site.constant(dtype, [], [floatOf(node, 'alpha', 1.702)])])
  site.add('Mul', [node.input[0], site.add('Sigmoid', [scaled])], {}, [node.output[0]])
}

const skipLayerNormalization: Rule = (site) => {
  const { node } = site
  if (site.used(1) || site.used(2)) site.refuse('its statistics are used')
  const [x, skip, gamma, beta, bias] = node.input
  const sum = site.add('Add', [x, skip], {}, bias || !site.used(3) ? undefined : [node.output[3]])
  const whole = bias ? site.add('Add', [sum, bias], {}, site.used(3) ? [node.output[3]] : undefined) : sum
  const epsilon = { float: floatOf(node, 'epsilon', 1e-12) }
  site.add('LayerNormalization', [whole, gamma, ...(beta ? [beta] : [])], { axis: -1, epsilon }, [node.output[0]])
}

/** Convolution or Gemm followed by an activation. */
const fusedActivation =
  (op: 'Conv' | 'Gemm'): Rule =>
  (site) => {
    const { node } = site
    const activation = stringOf(node, 'activation', '')
    if (!['', 'Relu', 'Tanh', 'Sigmoid'].includes(activation)) site.refuse(`the activation ${activation} is not known`)
    if (node.input[3]) site.refuse('it adds a fourth input')
    const plain = node.attribute.filter(({ name }) => !name.startsWith('activation'))
    const inner = site.add(op, node.input, {}, activation ? undefined : [node.output[0]])
    site.attributesOfLast(plain)
    if (activation) site.add(activation, [inner], {}, [node.output[0]])
  }

const dynamicQuantizeMatMul: Rule = (site) => {
  const { node } = site
  const [a, b, scale, zero, bias] = node.input
  const [quantized, aScale, aZero] = ['quantized', 'scale', 'zero'].map((part) => `${node.output[0]}.${part}`)
  site.add('DynamicQuantizeLinear', [a], {}, [quantized, aScale, aZero])
  const whole = site.add('MatMulInteger', [quantized, b, aZero, ...(zero ? [zero] : [])])
  const floats = site.add('Cast', [whole], { to: dataTypes.float32.onnx })
  const scaled = site.add('Mul', [floats, site.add('Mul', [aScale, scale])], {}, bias ? undefined : [node.output[0]])
  if (bias) site.add('Add', [scaled, bias], {}, [node.output[0]])
}

/** onnxruntime's own operators, by what they are in standard ONNX. */
const rules: Record<string, Rule> = {
  FusedMatMul: fusedMatMul,
  TransposeMatMul: fusedMatMul,
  Gelu: gelu(() => false),
  FastGelu: gelu(
    () => true,
    ({ node }) => node.input[1] || undefined,
  ),
  BiasGelu: gelu(
    () => false,
    ({ node }) => node.input[1],
  ),
  QuickGelu: quickGelu,
  SkipLayerNormalization: skipLayerNormalization,
  FusedConv: fusedActivation('Conv'),
  FusedGemm: fusedActivation('Gemm'),
  DynamicQuantizeMatMul: dynamicQuantizeMatMul,
  GatherBlockQuantized: gatherBlockQuantized,
  MatMulNBits: matMulNBits,
}

const standard = new Set(['', 'ai.onnx', 'ai.onnx.ml'])

/**
 * Leaves only operators of the ONNX standard, in place: onnxruntime's own are written out. Throws UNSUPPORTED naming one
 * that has no such form, or any other domain.
 */
export function makePortable(model: ModelProto) {
  rewrite(
    model,
    (node) => {
      if (standard.has(node.domain)) return undefined
      const rule = node.domain === 'com.microsoft' && Object.hasOwn(rules, node.opType) ? rules[node.opType] : undefined
      if (rule) return rule
      throw fail('UNSUPPORTED', {
        what: `the operator ${operatorName(node)} outside onnxruntime`,
        instead: 'Export a version that was not quantized, or keep the ONNX file as it is with --keep-operators.',
      })
    },
    'in standard ONNX',
  )
  if (model.opsetImport.some(({ domain }) => !standard.has(domain))) {
    model.opsetImport = model.opsetImport.filter(({ domain }) => standard.has(domain))
    sweep(model)
  }
}
