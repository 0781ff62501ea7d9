import { create } from '@bufbuild/protobuf'
import { fail } from '../../base/errors.ts'
import {
  type AttributeProto,
  type GraphProto,
  TensorProto_DataLocation as Location,
  type ModelProto,
  StringStringEntryProtoSchema,
  type TensorProto,
} from '../../graph/gen/onnx_pb.js'
import type { Source } from '../source.ts'

/** Protobuf messages end at 2 GiB; a whole model must fit one. */
const MESSAGE_LIMIT = 2 ** 31 - 2 ** 20

/** All tensors of a model: stored ones, those of attributes, and those of the graphs within. */
function* tensorsOf(graph: GraphProto): Generator<TensorProto> {
  yield* graph.initializer
  for (const { values, indices } of graph.sparseInitializer)
    for (const tensor of [values, indices]) if (tensor) yield tensor
  for (const { attribute } of graph.node) yield* tensorsIn(attribute)
}
function* tensorsIn(attributes: readonly AttributeProto[]): Generator<TensorProto> {
  for (const { t, tensors, g, graphs } of attributes) {
    if (t) yield t
    yield* tensors
    for (const graph of [...(g ? [g] : []), ...graphs]) yield* tensorsOf(graph)
  }
}

/**
 * Brings tensors that are kept in other files into the model. A file must be one of the source's, by its plain name or a
 * path below the model's folder; offset and length must lie within it. Nothing is opened by a name the model gives.
 * Throws MODEL_INVALID.
 */
export function inlineExternalData(model: ModelProto, source: Source) {
  if (!model.graph) return
  let total = 0
  const tensors = [
    tensorsOf(model.graph),
    ...model.functions.flatMap(({ node }) => node.map((n) => tensorsIn(n.attribute))),
  ]
  for (const tensor of tensors.flatMap((some) => [...some])) {
    if (tensor.dataLocation !== Location.EXTERNAL && tensor.externalData.length === 0) continue
    const refuse = (reason: string) =>
      fail('MODEL_INVALID', {
        reason: `tensor "${tensor.name.slice(0, 80)}" keeps its data in another file: ${reason}`,
      })
    const entries = new Map<string, string>()
    for (const { key, value } of tensor.externalData) {
      if (!['location', 'offset', 'length', 'checksum'].includes(key))
        throw refuse(`unknown entry "${key.slice(0, 40)}"`)
      if (entries.has(key)) throw refuse(`two entries "${key}"`)
      entries.set(key, value)
    }
    const location = entries.get('location') ?? ''
    const name = location.replace(/^\.\//, '')
    if (!source.names.includes(name)) throw refuse(`"${location.slice(0, 80)}" was not given with the model`)
    const whole = (key: string, absent: number): number => {
      const text = entries.get(key)
      if (text === undefined) return absent
      if (!/^\d{1,15}$/.test(text)) throw refuse(`${key} "${text.slice(0, 40)}" is not a whole number`)
      return Number(text)
    }
    const size = source.size(name)
    const offset = whole('offset', 0)
    const length = whole('length', size - offset)
    if (offset > size || length > size - offset)
      throw refuse(`bytes ${offset} to ${offset + length} of a file of ${size} bytes`)
    total += length
    if (total > MESSAGE_LIMIT)
      throw fail('UNSUPPORTED', { what: 'a model of more than 2 GiB', instead: 'Quantize it first.' })
    tensor.rawData = new Uint8Array(source.read(name).subarray(offset, offset + length))
    tensor.externalData = []
    tensor.dataLocation = Location.DEFAULT
  }
}

/** Offsets are multiples of this, so that readers can map the file into memory. */
const ALIGNMENT = 64

/**
 * Moves stored tensors of at least `threshold` bytes out of the model, in place, into one file of the given name; returns
 * its content, or undefined when no tensor is that large.
 */
export function externalise(model: ModelProto, name: string, threshold = 1024): Uint8Array | undefined {
  const moved = model.graph!.initializer.filter(({ rawData }) => rawData.length >= threshold)
  if (moved.length === 0) return undefined
  const padded = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT
  const data = new Uint8Array(moved.reduce((sum, { rawData }) => sum + padded(rawData.length), 0))
  let offset = 0
  for (const tensor of moved) {
    const length = tensor.rawData.length
    data.set(tensor.rawData, offset)
    const entries = { location: name, offset: String(offset), length: String(length) }
    tensor.externalData = Object.entries(entries).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value }),
    )
    tensor.dataLocation = Location.EXTERNAL
    tensor.rawData = new Uint8Array()
    offset += padded(length)
  }
  return data
}
