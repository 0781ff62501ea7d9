import type { TrainingGraph } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import { reads } from '../graph/edit.ts'
import type { ModelProto, ValueInfoProto } from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import type { Type } from '../graph/shape.ts'
import { tensorInput } from '../graph/signature.ts'
import { dataTypes } from '../graph/tensor.ts'
import type { Batch } from './batch.ts'
import type { Learner } from './learner.ts'

/** Operators whose output lies where their input does. */
const views = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity'])

/** What one process takes beside vectors and values: code, libraries, the garbage collector's reserve. */
const BASE = 200e6
/** What onnxruntime's arena holds of what values take, since it grows in large pieces and leaves gaps. */
const SLACK = 1.3
/** Batches of an epoch that are looked at for the largest. */
const LOOKED_AT = 32

/** How a batch is worked on: by how many threads, and how many vectors of all parameters are kept, gradients left out. */
interface Work {
  readonly ways: number
  readonly kept: number
}

/** Bytes that training takes, about, when a batch has as many elements as this one: an estimate, from the graph's shapes. */
export function memoryOfStep(graph: TrainingGraph, batch: Batch, { ways, kept }: Work): number {
  const count = (all: TrainingGraph['parameters']) =>
    all.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
  const trained = count(graph.parameters)
  // gradients: what the optimizer reads, what the graph makes of them, and the binding's copy
  const vectors = 4 * (trained * (kept + 3 * ways) + count(graph.frozen))
  return BASE + vectors + ways * SLACK * mostAlive(sized(graph.model, batch, Math.ceil(batch.rows / ways)))
}

/**
 * Throws TRAINING_MEMORY, before anything is made, where `available` bytes are too few for the largest of some batches;
 * says which batch size would fit.
 */
export function assertFits(learner: Learner, work: Work, available = process.availableMemory()) {
  const { graph } = learner
  const batches = learner.batches(0)
  const every = Math.max(1, Math.floor(batches.length / LOOKED_AT))
  const elements = ({ tensors }: Batch) => Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0)
  const largest = batches
    .filter((_, i) => i % every === 0)
    .map((rows) => learner.assemble(rows, 0))
    .reduce((a, b) => (elements(b) > elements(a) ? b : a))
  const needed = memoryOfStep(graph, largest, work)
  if (needed <= available) return
  const mb = (bytes: number) => Math.round(bytes / 1e6)
  throw fail('TRAINING_MEMORY', { needed: mb(needed), available: mb(available), instead: fitting() })

  function fitting(): string {
    for (let rows = largest.rows >> 1; rows >= 1; rows >>= 1) {
      const ways = Math.max(1, Math.min(work.ways, rows))
      if (memoryOfStep(graph, { ...largest, rows }, { ...work, ways }) > available) continue
      const parts = Math.ceil(largest.rows / rows)
      return `--set batchSize=${rows} would fit; with --set accumulate=${parts} as well it learns as from ${largest.rows} rows at once.`
    }
    return 'Not even one row at a time fits: choose a smaller model, or shorter texts.'
  }
}

/** The model with the sizes of this batch as its inputs' dimensions, of which a way has `rows` rows. */
function sized(model: ModelProto, { tensors, sizes }: Batch, rows: number): ModelProto {
  const graph = model.graph!
  const known = new Map<string, number>(Object.entries(sizes))
  known.set('batch', rows)
  for (const input of graph.input) {
    const given = tensors[input.name]?.dims
    tensorInput(input).shape.forEach((dim, axis) => {
      if (typeof dim === 'string' && given) known.set(dim, axis === 0 ? rows : given[axis])
    })
  }
  const fixed = (info: ValueInfoProto): ValueInfoProto => {
    if (info.type?.value.case !== 'tensorType') return info
    const tensor = info.type.value.value
    const dim = tensor.shape!.dim.map((one) => {
      const size = one.value.case === 'dimParam' ? known.get(one.value.value) : undefined
      return size === undefined ? one : { ...one, value: { case: 'dimValue' as const, value: BigInt(size) } }
    })
    const shape = { ...tensor.shape!, dim }
    return { ...info, type: { ...info.type, value: { case: 'tensorType', value: { ...tensor, shape } } } }
  }
  return { ...model, graph: { ...graph, input: graph.input.map(fixed), output: [], valueInfo: [] } }
}

/** Bytes of the values that nodes make, when most of them are alive: from the node that makes one to the last that reads it. */
function mostAlive(model: ModelProto): number {
  const { node } = model.graph!
  const types = inferModel(model)
  const home = new Map<string, string>()
  const at = (name: string) => home.get(name) ?? name
  for (const { opType, input, output } of node) if (views.has(opType)) home.set(output[0], at(input[0]))
  const lastRead = new Map<string, number>()
  node.forEach((one, i) => {
    for (const name of reads(one)) lastRead.set(at(name), i)
  })
  const alive = new Map<string, number>()
  let [now, most] = [0, 0]
  node.forEach((one, i) => {
    for (const name of one.output.filter((name) => name !== '' && !home.has(name))) {
      const bytes = bytesOf(types.get(name))
      alive.set(name, bytes)
      now += bytes
    }
    most = Math.max(most, now)
    for (const name of [...reads(one).map(at), ...one.output]) {
      if (!alive.has(name) || (lastRead.get(name) ?? -1) > i) continue
      now -= alive.get(name)!
      alive.delete(name)
    }
  })
  return most
}

/** Of a value whose sizes are not known, nothing. */
function bytesOf(type: Type | undefined): number {
  const each = type?.dtype ? dataTypes[type.dtype].bytes : 0
  return (type?.shape ?? [0]).reduce<number>((a, b) => a * (typeof b === 'number' ? b : 0), each)
}
