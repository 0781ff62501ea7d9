import { create } from '@bufbuild/protobuf'
import { fail } from '../../base/errors.ts'
import { type DataType, fromNumbers, type Tensor, type TypedArray } from '../../graph/tensor.ts'
import {
  type AttrValue,
  AttrValueSchema,
  type GraphDef,
  GraphDefSchema,
  type NodeDef,
  NodeDefSchema,
  TensorProtoSchema,
  TensorShapeProtoSchema,
} from './gen/tensorflow_pb.js'

/** TensorFlow's numbers of element types. */
export const tfTypes: Partial<Record<DataType, number>> = {
  float32: 1,
  float64: 2,
  int32: 3,
  uint8: 4,
  int16: 5,
  int8: 6,
  int64: 9,
  bool: 10,
}

/** Types that no tensor of a model has: handles, such as a TensorArray's, and strings. */
const others: Partial<Record<DataType | 'resource', number>> = { resource: 20, string: 7 }
const numberOf = (type: DataType | 'resource') => others[type] ?? tfTypes[type as DataType]!

/** An attribute as written in code. */
export type Attr =
  | { type: DataType | 'resource' }
  | { int: number }
  | { ints: readonly number[] }
  | { flag: boolean }
  | { text: string }
  | { texts: readonly string[] }
  | { types: readonly DataType[] }
  | { shape: readonly number[] | undefined }

export const shapeProto = (dims: readonly number[] | undefined) =>
  dims === undefined
    ? create(TensorShapeProtoSchema, { unknownRank: true })
    : create(TensorShapeProtoSchema, { dim: dims.map((size) => ({ size: BigInt(size) })) })

/** Builds a TensorFlow graph node by node. `integers` is what 64-bit integers become: TensorFlow.js has none. */
export class TfGraph {
  readonly integers: 'int64' | 'int32'
  readonly #nodes: NodeDef[] = []
  readonly #names = new Map<string, number>()
  readonly #constants = new Map<string, string>()
  /** Constants that 32 bits do not hold; refused if anything uses them. */
  readonly #wide = new Map<string, bigint>()

  constructor(integers: 'int64' | 'int32') {
    this.integers = integers
  }

  /** The type a value has in this graph. */
  typed(dtype: DataType): DataType {
    return dtype === 'int64' ? this.integers : dtype
  }

  unique(wanted: string): string {
    const name = wanted.replace(/[^A-Za-z0-9_./-]/g, '_').replace(/^[^A-Za-z0-9.]/, 'n')
    const count = this.#names.get(name) ?? 0
    this.#names.set(name, count + 1)
    return count === 0 ? name : this.unique(`${name}_${count}`)
  }

  /** Adds a node; returns its name, which is its first output (others are `name:1`, …). */
  add(op: string, inputs: readonly string[], attrs: Record<string, Attr> = {}, name = op): string {
    const node = create(NodeDefSchema, { name: this.unique(name), op, input: [...inputs] })
    for (const [key, attr] of Object.entries(attrs)) node.attr[key] = this.#attr(attr)
    this.#nodes.push(node)
    return node.name
  }

  /** Gives a node another input: the back edge of a loop. */
  connect(node: string, input: string) {
    this.#nodes.find(({ name }) => name === node)!.input.push(input)
  }

  constant(tensor: Tensor, name = 'constant'): string {
    const dtype = this.typed(tensor.dtype)
    const { dims } = tensor
    const data =
      dtype === tensor.dtype ? tensor.data : Int32Array.from(tensor.data as Iterable<bigint>, (value) => Number(value))
    const wide =
      data !== tensor.data && (tensor.data as BigInt64Array).find((value) => value !== BigInt.asIntN(32, value))
    const { buffer, byteOffset, byteLength } = data as TypedArray
    const content = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)
    const key = byteLength <= 256 && !wide ? `${dtype}[${dims}]${content}` : undefined
    const known = key && this.#constants.get(key)
    if (known) return known
    const node = this.add('Const', [], { dtype: { type: dtype } }, name)
    const proto = create(TensorProtoSchema, {
      dtype: tfTypes[dtype]!,
      tensorShape: shapeProto(dims),
      tensorContent: content,
    })
    this.#nodes.at(-1)!.attr.value = create(AttrValueSchema, { value: { case: 'tensor', value: proto } })
    if (key) this.#constants.set(key, node)
    if (wide) this.#wide.set(node, wide)
    return node
  }

  /** A scalar string. */
  text(value: string): string {
    const node = this.add('Const', [], { dtype: { type: 'string' } }, 'text')
    const proto = create(TensorProtoSchema, {
      dtype: numberOf('string'),
      tensorShape: shapeProto([]),
      stringVal: [new TextEncoder().encode(value)],
    })
    this.#nodes.at(-1)!.attr.value = create(AttrValueSchema, { value: { case: 'tensor', value: proto } })
    return node
  }

  ints(values: readonly number[], dims: readonly number[] = [values.length]): string {
    return this.constant(fromNumbers('int32', dims, values))
  }

  scalar(dtype: DataType, value: number): string {
    return this.constant(fromNumbers(dtype, [], [value]))
  }

  /** The graph, without constants that nothing uses. */
  graph(): GraphDef {
    const used = new Set(this.#nodes.flatMap(({ input }) => input.map((name) => name.replace(/:\d+$/, ''))))
    for (const [name, value] of this.#wide) {
      if (!used.has(name)) continue
      throw fail('UNSUPPORTED', {
        what: `the whole number ${value} in TensorFlow.js, which counts in 32 bits,`,
        instead: 'Export it as onnx, which browsers run as well.',
      })
    }
    const node = this.#nodes.filter(({ op, name }) => op !== 'Const' || used.has(name))
    return create(GraphDefSchema, { node, versions: { producer: 1395, minConsumer: 12 } })
  }

  #attr(attr: Attr): AttrValue {
    const of = (value: AttrValue['value']) => create(AttrValueSchema, { value })
    if ('type' in attr) return of({ case: 'type', value: numberOf(attr.type) })
    if ('int' in attr) return of({ case: 'i', value: BigInt(attr.int) })
    if ('flag' in attr) return of({ case: 'b', value: attr.flag })
    if ('text' in attr) return of({ case: 's', value: new TextEncoder().encode(attr.text) })
    if ('texts' in attr)
      return create(AttrValueSchema, {
        value: { case: 'list', value: { s: attr.texts.map((text) => new TextEncoder().encode(text)) } },
      })
    if ('types' in attr)
      return create(AttrValueSchema, { value: { case: 'list', value: { type: attr.types.map(numberOf) } } })
    if ('shape' in attr) return of({ case: 'shape', value: shapeProto(attr.shape) })
    const list = create(AttrValueSchema, { value: { case: 'list', value: { i: attr.ints.map(BigInt) } } })
    return list
  }
}
