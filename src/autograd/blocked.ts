import { create } from '@bufbuild/protobuf'
import { attribute, intOf, intsOf, stringOf } from '../graph/attributes.ts'
import {
  type ModelProto,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  type TensorProto,
} from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import type { Shape } from '../graph/shape.ts'
import { int64 } from '../graph/tensor.ts'
import { toProto } from '../graph/tensor-proto.ts'

const DOMAIN = 'com.microsoft.nchwc'

/**
 * The model with its two-dimensional convolutions in onnxruntime's layout of blocks of channels (NCHWc), which take half
 * the time. onnxruntime itself changes the layout only of convolutions whose weights are stored in the model; those of a
 * training graph are not. `block` is how many channels a block has on this machine; below 2 there is no such layout. Only
 * for models that are run at once: their operators are no standard.
 */
export function blockConvolutions(model: ModelProto, block: number): ModelProto {
  const { graph } = model
  if (block < 2 || !graph?.node.some(({ opType }) => opType === 'Conv')) return model
  const types = inferModel(model)
  const made: TensorProto[] = []
  const known = new Map<string, string>()
  const nodes: NodeProto[] = []
  const add = (node: Parameters<typeof create<typeof NodeProtoSchema>>[1]) => nodes.push(create(NodeProtoSchema, node))
  const constant = (values: readonly number[]) => {
    const name = `blocked:${values.join()}`
    if (!known.has(name)) made.push(toProto(int64([values.length], values), name))
    known.set(name, name)
    return name
  }
  /** Filters in the layout that the blocked convolution reads: blocks of filters, and of channels unless these are few. */
  const filters = (name: string, [out, channels, ...kernel]: readonly number[], whole: boolean): string => {
    const found = known.get(`filters ${name}`)
    if (found) return found
    const [apart, order] = whole
      ? [
          [out / block, block, channels / block, block, ...kernel],
          [0, 2, 4, 5, 3, 1],
        ]
      : [
          [out / block, block, channels, ...kernel],
          [0, 2, 3, 4, 1],
        ]
    const [split, turned, result] = ['split', 'turned', 'blocked'].map((part) => `${name}:${part}`)
    add({ opType: 'Reshape', input: [name, constant(apart)], output: [split] })
    add({ opType: 'Transpose', input: [split], output: [turned], attribute: [attribute('perm', order)] })
    add({ opType: 'Reshape', input: [turned, constant([out, channels, ...kernel])], output: [result] })
    known.set(`filters ${name}`, result)
    return result
  }
  const input = (name: string): string => {
    const found = known.get(`input ${name}`)
    if (found) return found
    const result = `${name}:blocked`
    add({ opType: 'ReorderInput', domain: DOMAIN, input: [name], output: [result] })
    known.set(`input ${name}`, result)
    return result
  }
  for (const node of graph.node) {
    const [x, weight] = node.input.map((name) => types.get(name)?.shape)
    const shape = suits(node, x, weight, block)
    if (!shape) {
      nodes.push(node)
      continue
    }
    const [out, channels] = shape
    const whole = channels % block === 0
    const result = `${node.output[0]}:blocked`
    add({
      opType: 'Conv',
      domain: DOMAIN,
      name: node.name,
      input: [
        whole ? input(node.input[0]) : node.input[0],
        filters(node.input[1], shape, whole),
        ...node.input.slice(2),
      ],
      output: [result],
      attribute: [
        ...node.attribute.filter(({ name }) => name !== 'kernel_shape'),
        attribute('kernel_shape', shape.slice(2)),
      ],
    })
    const attributes = [attribute('channels', out)]
    add({ opType: 'ReorderOutput', domain: DOMAIN, input: [result], output: [node.output[0]], attribute: attributes })
  }
  const opset = create(OperatorSetIdProtoSchema, { domain: DOMAIN, version: 1n })
  return {
    ...model,
    opsetImport: [...model.opsetImport, opset],
    graph: { ...graph, node: nodes, initializer: [...graph.initializer, ...made] },
  }
}

/** The filters' shape, if a convolution can be taken over: one group, whole blocks of filters, few or whole blocks of channels. */
function suits(node: NodeProto, x: Shape | undefined, weight: Shape | undefined, block: number): number[] | undefined {
  if (node.opType !== 'Conv' || node.domain !== '' || x?.length !== 4 || weight?.length !== 4) return undefined
  if (intOf(node, 'group', 1) !== 1 || stringOf(node, 'auto_pad', 'NOTSET') !== 'NOTSET') return undefined
  if (weight.some((dim) => typeof dim !== 'number') || intsOf(node, 'dilations')?.some((by) => by > 1)) return undefined
  const [filters, channels] = weight.map(Number)
  const channelsFit = channels % block === 0 || channels < block
  return filters % block === 0 && channelsFit ? weight.map(Number) : undefined
}
