import { create } from '@bufbuild/protobuf'
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  type GraphProto,
  type NodeProto,
} from './gen/onnx_pb.js'
import type { Tensor } from './tensor.ts'
import { fromProto, toProto } from './tensor-proto.ts'

/** An attribute as written in code: whole numbers are ints, `{ float }` forces a float that happens to be whole. */
export type Attribute =
  | number
  | string
  | readonly number[]
  | readonly string[]
  | Tensor
  | { float: number }
  | { graph: GraphProto }
export type Attributes = Record<string, Attribute | undefined>

const utf8 = new TextEncoder()

/** The message of a named attribute. */
export function attribute(name: string, value: Attribute): AttributeProto {
  const proto = create(AttributeProtoSchema, { name })
  if (typeof value === 'number') {
    if (Number.isInteger(value)) Object.assign(proto, { type: AttributeType.INT, i: BigInt(value) })
    else Object.assign(proto, { type: AttributeType.FLOAT, f: value })
  } else if (typeof value === 'string') Object.assign(proto, { type: AttributeType.STRING, s: utf8.encode(value) })
  else if (isList(value)) {
    if (typeof value[0] === 'string') {
      Object.assign(proto, { type: AttributeType.STRINGS, strings: value.map((text) => utf8.encode(text as string)) })
    } else if (value.every((item) => Number.isInteger(item))) {
      Object.assign(proto, { type: AttributeType.INTS, ints: value.map((item) => BigInt(item)) })
    } else Object.assign(proto, { type: AttributeType.FLOATS, floats: [...value] })
  } else if ('float' in value) Object.assign(proto, { type: AttributeType.FLOAT, f: value.float })
  else if ('graph' in value) Object.assign(proto, { type: AttributeType.GRAPH, g: value.graph })
  else Object.assign(proto, { type: AttributeType.TENSOR, t: toProto(value) })
  return proto
}

const isList = (value: Attribute): value is readonly number[] | readonly string[] => Array.isArray(value)

const find = (node: NodeProto, name: string) => node.attribute.find((attribute) => attribute.name === name)

export const intOf = (node: NodeProto, name: string, absent: number): number => {
  const found = find(node, name)
  return found ? Number(found.i) : absent
}
export const floatOf = (node: NodeProto, name: string, absent: number): number => find(node, name)?.f ?? absent
export const intsOf = (node: NodeProto, name: string): number[] | undefined => find(node, name)?.ints.map(Number)
export const stringOf = (node: NodeProto, name: string, absent: string): string => {
  const found = find(node, name)
  return found ? new TextDecoder().decode(found.s) : absent
}
export const stringsOf = (node: NodeProto, name: string): string[] | undefined =>
  find(node, name)?.strings.map((text) => new TextDecoder().decode(text))
export const tensorOf = (node: NodeProto, name: string): Tensor | undefined => {
  const found = find(node, name)?.t
  return found && fromProto(found)
}
export const graphOf = (node: NodeProto, name: string): GraphProto | undefined => find(node, name)?.g
