import { Builder } from 'flatbuffers'
import type { DataType } from '../../graph/tensor.ts'

/** A field of a table as it is stored, at the place of its number in TensorFlow's schema.fbs. */
export type Field =
  | { byte: number }
  | { bool: boolean }
  | { int: number }
  | { float: number }
  | { ints: readonly number[] }
  | undefined

/** The options of an operator: which table of the union BuiltinOptions, and its fields. */
export interface Options {
  readonly table: number
  readonly fields: readonly Field[]
}

/** A tensor: stored in the file if it has data. -1 in `dims` for what only a run decides; no `dims` for what is computed. */
export interface LiteTensor {
  readonly name: string
  readonly dtype: DataType
  readonly dims?: readonly number[]
  readonly data?: Uint8Array
}

/** An operator by its number in BuiltinOperator, with the places of its tensors. */
export interface LiteOperator {
  readonly code: number
  readonly inputs: readonly number[]
  readonly outputs: readonly number[]
  readonly options?: Options | undefined
}

/** A graph whose inputs and outputs have names beside their places. */
export interface LiteGraph {
  readonly tensors: readonly LiteTensor[]
  readonly operators: readonly LiteOperator[]
  readonly inputs: Readonly<Record<string, number>>
  readonly outputs: Readonly<Record<string, number>>
}

/** TensorType. */
export const liteTypes: Partial<Record<DataType, number>> = {
  float32: 0,
  int32: 2,
  uint8: 3,
  int64: 4,
  bool: 6,
  int8: 9,
}

const VERSION = 3
const IDENTIFIER = 'TFL3'
/** Data of tensors begin at multiples of this. */
const ALIGNMENT = 16
/** Older readers find the numbers of operators in a byte, which holds this at most. */
const PLACEHOLDER = 127

/** A model file of one graph, with the signature `serving_default` (schema.fbs of TensorFlow Lite, version 3). */
export function liteFile({ tensors, operators, inputs, outputs }: LiteGraph): Uint8Array {
  const b = new Builder(1 << 16)
  /** Writes a table: offsets are of what was written before it. */
  const table = (fields: readonly (Field | { offset: number })[]): number => {
    const ready = fields.map((field) => (field && 'ints' in field ? { offset: intsOf(b, field.ints) } : field))
    b.startObject(ready.length)
    ready.forEach((field, i) => {
      if (!field) return
      if ('byte' in field) b.addFieldInt8(i, field.byte, 0)
      else if ('bool' in field) b.addFieldInt8(i, Number(field.bool), 0)
      else if ('int' in field) b.addFieldInt32(i, field.int, 0)
      else if ('float' in field) b.addFieldFloat32(i, field.float, 0)
      else if ('offset' in field) b.addFieldOffset(i, field.offset, 0)
    })
    return b.endObject()
  }
  const list = (offsets: readonly number[]) => {
    b.startVector(4, offsets.length, 4)
    for (const offset of offsets.toReversed()) b.addOffset(offset)
    return { offset: b.endVector() }
  }
  const text = (value: string) => ({ offset: b.createString(value) })
  const places = (of: Readonly<Record<string, number>>) =>
    list(Object.entries(of).map(([name, place]) => table([text(name), { int: place }])))

  // the first buffer is that of tensors without data
  const stored = tensors.filter(({ data }) => data)
  const buffers = list([
    table([]),
    ...stored.map(({ data }) => {
      b.prep(ALIGNMENT, data!.byteLength)
      return table([{ offset: b.createByteVector(data!) }])
    }),
  ])
  const tensorTables = tensors.map((tensor) => {
    const { name, dtype, dims = [], data } = tensor
    const shape = { ints: dims.map((dim) => Math.max(dim, 1)) }
    const signature = dims.includes(-1) ? { ints: dims } : undefined
    const buffer = { int: data ? stored.indexOf(tensor) + 1 : 0 }
    const absent = undefined // quantization, whether it is a variable, sparsity
    return table([shape, { byte: liteTypes[dtype]! }, buffer, text(name), absent, absent, absent, signature])
  })
  const codes = [...new Set(operators.map(({ code }) => code))]
  const operatorTables = operators.map(({ code, inputs, outputs, options }) => {
    const union = options ? [{ byte: options.table }, { offset: table(options.fields) }] : []
    return table([{ int: codes.indexOf(code) }, { ints: inputs }, { ints: outputs }, ...union])
  })
  const graph = table([
    list(tensorTables),
    { ints: Object.values(inputs) },
    { ints: Object.values(outputs) },
    list(operatorTables),
    text('main'),
  ])
  const codeTables = codes.map((code) =>
    table([{ byte: Math.min(code, PLACEHOLDER) }, undefined, { int: 1 }, { int: code }]),
  )
  const signature = table([places(inputs), places(outputs), text('serving_default')])
  const model = table([
    { int: VERSION },
    list(codeTables),
    list([graph]),
    text('athanor'),
    buffers,
    undefined,
    undefined,
    list([signature]),
  ])
  b.finish(model, IDENTIFIER)
  return b.asUint8Array()
}

function intsOf(b: Builder, values: readonly number[]): number {
  b.startVector(4, values.length, 4)
  for (const value of values.toReversed()) b.addInt32(value)
  return b.endVector()
}
