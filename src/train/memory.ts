import type { TrainingGraph } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import { reads } from '../graph/edit.ts'
import type { ModelProto, ValueInfoProto } from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import type { Type } from '../graph/shape.ts'
import { tensorInput } from '../graph/signature.ts'
import { dataTypes } from '../graph/tensor.ts'
import type { Batch } from './batch.ts'
import { inBlocks } from './block.ts'
import type { Learner } from './learner.ts'

/** Operators whose output lies where their input does. */
const views = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Identity'])

/** What is added beside vectors and values when training begins: threads with their code, sessions without their values. */
const START = 96e6
/** What onnxruntime's arena holds of what values take, since it leaves gaps. */
const SLACK = 1.2
/**
 * Bytes of a way's values up to which their memory is planned by shape: that spares 2 to 3 % of a small step's time, but the
 * plan lies beside what the first step took, so that large ones took 1.6 times the memory.
 */
const PLANNED = 32e6
/** How often the weights are there while they are evaluated. */
const COPIES = 4
/** Batches of an epoch that are looked at for the largest. */
const LOOKED_AT = 32

/** How a batch is worked on. */
interface Work {
  /** Threads that share it. */
  readonly ways: number
  /** Vectors of all parameters that are kept, gradients left out. */
  readonly kept: number
  /** Channels or columns of a block in the layout that graphs are run in; 1 for none. */
  readonly block: number
}

/** Bytes that a process takes more, at most, when it begins to train on batches of this size; by the graph's shapes. */
export const memoryOf = (graph: TrainingGraph, batch: Batch, work: Work): number =>
  memoryOfStep(graph, batch, work) + memoryBetween(graph, batch, work)

/** The same of one that only takes steps. */
export function memoryOfStep(graph: TrainingGraph, batch: Batch, work: Work): number {
  const { ways, kept } = work
  // gradients: what the optimizer reads, what the graph makes of them, and the binding's copy
  const vectors = sizeOf(graph.parameters) * (kept + 3 * ways) + sizeOf(graph.frozen)
  const values = valuesOf(graph, batch, work)
  return START + vectors + ways * SLACK * values * (values <= PLANNED ? 2 : 1)
}

/** Whether a session should plan its memory when it is to work on batches of this size. */
export const isPlanned = (graph: TrainingGraph, batch: Batch, work: Omit<Work, 'kept'>): boolean =>
  valuesOf(graph, batch, work) <= PLANNED

/** Bytes of values that lie there at once in a way's part of a step. */
function valuesOf({ model }: TrainingGraph, batch: Batch, { ways, block }: Omit<Work, 'kept'>): number {
  const rows = Math.ceil(batch.rows / ways)
  return mostAlive(sized(inBlocks(model, block, rows), batch, rows))
}

/** What comes on top between steps: the copies that a checkpoint is written from, or an evaluation of as many rows. */
function memoryBetween(graph: TrainingGraph, batch: Batch, { kept }: Work): number {
  const weights = sizeOf(graph.parameters) + sizeOf(graph.frozen)
  // a copy of the weights, the file of the graph with them, and the session's own, some of them rearranged
  const evaluation = COPIES * weights + SLACK * mostAlive(forward(sized(graph.model, batch, batch.rows)))
  return Math.max(kept * weights, evaluation)
}

const sizeOf = (all: TrainingGraph['parameters']) =>
  4 * all.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)

/** The nodes that make the loss; what evaluates is the same but for it. */
function forward(model: ModelProto): ModelProto {
  const { node } = model.graph!
  const wanted = new Set(['loss', 'correct'])
  const kept: typeof node = []
  for (const one of node.toReversed()) {
    if (!one.output.some((name) => wanted.has(name))) continue
    for (const name of reads(one)) wanted.add(name)
    kept.unshift(one)
  }
  return { ...model, graph: { ...model.graph!, node: kept } }
}

/**
 * Throws TRAINING_MEMORY, before anything is made, where `available` bytes are too few for the largest of some batches;
 * says which batch size would fit. Returns the bytes that this process will have resident at most, and whether memory is to be planned.
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
  const needed = memoryOf(graph, largest, work)
  if (needed <= available)
    return {
      resident: Math.round(process.memoryUsage.rss() + needed),
      planned: isPlanned(graph, largest, work),
    }
  const mb = (bytes: number) => Math.round(bytes / 1e6)
  throw fail('TRAINING_MEMORY', { needed: mb(needed), available: mb(available), instead: fitting() })

  function fitting(): string {
    for (let rows = largest.rows >> 1; rows >= 1; rows >>= 1) {
      const ways = Math.max(1, Math.min(work.ways, rows))
      if (memoryOf(graph, { ...largest, rows }, { ...work, ways }) > available) continue
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
