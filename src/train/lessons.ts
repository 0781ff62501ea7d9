import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Network } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import { writeWhole } from '../base/whole.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { dense, shares, tokens, weighted } from '../nn/layers.ts'
import { layerStates } from '../nn/states.ts'
import type { Batch, BatchTensor } from './batch.ts'
import type { TrainEvent } from './events.ts'

/** A model that teaches another what it makes of the training texts (Hinton et al. 2015). */
export interface Teacher {
  answers(texts: readonly string[]): Promise<Answers>
  /** Above 1 the teacher's lesser guesses weigh more. */
  readonly temperature: number
  /** The teacher's part of the loss; the labels have the rest. */
  readonly share: number
  /** What the vectors that the teacher answers from are weighed with, beside that loss; no vectors are given where it is 0. */
  readonly hidden: number
  /** The same of what its layers give, as many of them as the student has. */
  readonly states?: { readonly weight: number; readonly layers: number }
}

/**
 * Row by row: probabilities of the classes (texts, classes), the vectors that they are made from (texts, width), and the
 * means of the tokens after some layers (texts, layers · width).
 */
export interface Answers {
  readonly probabilities: Float32Array
  readonly vectors?: Float32Array
  readonly states?: Float32Array
}

/** What a teacher says of all training rows: softened probabilities, and vectors of length 1. */
export interface Lessons {
  readonly soft: Float32Array
  readonly vectors?: { readonly data: Float32Array; readonly width: number }
  /** Of each layer, less their mean over the rows. */
  readonly states?: { readonly data: Float32Array; readonly width: number; readonly layers: number }
}

const AT_ONCE = 256

/** What the teacher makes of all training rows; kept for a run that goes on later. */
export async function* lessons(
  { answers, temperature, hidden, states: layered }: Teacher,
  texts: string,
  rows: number,
  classes: number,
): AsyncGenerator<TrainEvent, Lessons> {
  const paths = { soft: `${texts}.lessons`, vectors: `${texts}.vectors`, states: `${texts}.states` }
  const kept = (path: string) => new Float32Array(new Uint8Array(readFileSync(path)).buffer)
  const lessonsOf = (soft: Float32Array, vectors?: Float32Array, states?: Float32Array): Lessons => ({
    soft,
    ...(vectors && { vectors: { data: vectors, width: vectors.length / rows } }),
    ...(states &&
      layered && { states: { data: states, layers: layered.layers, width: states.length / rows / layered.layers } }),
  })
  if (existsSync(paths.soft))
    return lessonsOf(
      kept(paths.soft),
      hidden > 0 ? kept(paths.vectors) : undefined,
      layered ? kept(paths.states) : undefined,
    )
  const soft = new Float32Array(rows * classes)
  let vectors: Float32Array | undefined
  let states: Float32Array | undefined
  let done = 0
  let batch: string[] = []
  const ask = async () => {
    const said = await answers(batch)
    soft.set(soften(said.probabilities, classes, temperature), done * classes)
    if (said.vectors) {
      const width = said.vectors.length / batch.length
      vectors ??= new Float32Array(rows * width)
      vectors.set(ofLengthOne(said.vectors, width), done * width)
    }
    if (said.states) {
      const width = said.states.length / batch.length
      states ??= new Float32Array(rows * width)
      states.set(said.states, done * width)
    }
    done += batch.length
    batch = []
  }
  for await (const line of createInterface({ input: createReadStream(texts), crlfDelay: Number.POSITIVE_INFINITY })) {
    batch.push(JSON.parse(line) as string)
    if (batch.length < AT_ONCE) continue
    await ask()
    yield { type: 'progress', phase: 'teaching', done, total: rows }
  }
  if (batch.length > 0) await ask()
  if (vectors) writeFileSync(paths.vectors, new Uint8Array(vectors.buffer))
  if (states && layered) {
    const width = states.length / rows
    states = ofLengthOne(centred(states, width), width / layered.layers)
    writeFileSync(paths.states, new Uint8Array(states.buffer))
  }
  writeWhole(paths.soft, new Uint8Array(soft.buffer)) // last: its presence says that all is there
  return lessonsOf(soft, vectors, states)
}

/** Rows of a width less their mean: what all texts have in common tells nothing of one. */
function centred(rows: Float32Array, width: number): Float32Array {
  const mean = new Float64Array(width)
  for (let i = 0; i < rows.length; i++) mean[i % width] += (rows[i] * width) / rows.length
  return rows.map((value, i) => value - mean[i % width])
}

function ofLengthOne(vectors: Float32Array, width: number): Float32Array {
  const result = vectors.slice()
  for (let at = 0; at < result.length; at += width) {
    const row = result.subarray(at, at + width)
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)) || 1
    row.forEach((value, i) => {
      row[i] = value / length
    })
  }
  return result
}

/** p^(1/T), made to sum to 1 again in each row. */
function soften(probabilities: Float32Array, classes: number, temperature: number): Float32Array {
  const soft = probabilities.map((p) => Math.max(p, 1e-12) ** (1 / temperature))
  for (let at = 0; at < soft.length; at += classes) {
    const row = soft.subarray(at, at + classes)
    const sum = row.reduce((a, b) => a + b, 0)
    row.forEach((p, i) => {
      row[i] = p / sum
    })
  }
  return soft
}

/** Parameters that only learn from a teacher's vectors and are not served begin with this. */
export const HINT = 'hint/'

/**
 * With what a teacher says: the cross-entropy with its soft answers at its temperature, times T² so that its gradients keep
 * their size, beside the labels' own; and how far the vectors that logits are made from, brought to the teacher's width by a
 * product of their own, point elsewhere than the teacher's (Sanh et al. 2019); likewise the mean of the tokens after each
 * layer (Sun et al. 2019).
 */
export function taughtLoss(
  network: Network,
  own: { loss: Value; correct: Value },
  logits: Value,
  { ids, lengths }: { ids: Value; lengths: Value },
  { vectors, states }: Lessons,
  { temperature, share, hidden, states: layered }: Teacher,
) {
  const { graph } = network
  const classes = Number(logits.shape[1])
  const given = graph.input('teacher', 'float32', ['batch', classes])
  const taught = o.within(graph, () => {
    const said = o.logSoftmax(o.mul(logits, 1 / temperature)) // (batch, classes)
    return o.neg(o.reduceMean(o.reduceSum(o.mul(given, said), [1])))
  })
  let loss = o.within(graph, () => o.add(o.mul(own.loss, 1 - share), o.mul(taught, share * temperature ** 2)))
  const hint = network.scope(HINT.slice(0, -1))
  /** Less the cosine of vectors (batch, …), once they have the teacher's width, and the teacher's. */
  const towards = (at: Network, vectors: Value, theirs: Value, weight: number) => {
    const mine = dense(at, vectors, Number(theirs.shape[1])) // (batch, width)
    const cosine = o.within(graph, () => {
      const length = o.sqrt(o.add(o.reduceSum(o.mul(mine, mine), [1]), 1e-12)) // (batch)
      return o.reduceMean(o.div(o.reduceSum(o.mul(mine, theirs), [1]), length))
    })
    loss = o.within(graph, () => o.sub(loss, o.mul(cosine, weight)))
  }
  if (vectors)
    towards(hint, vectorsBefore(logits), graph.input('teacher.vectors', 'float32', ['batch', vectors.width]), hidden)
  if (states && layered) {
    const { width, layers } = states
    const counted = o.within(graph, () => shares(tokens(ids, lengths))) // (batch, time)
    const all = graph.input('teacher.states', 'float32', ['batch', layers * width])
    const theirs = o.within(graph, () => o.split(all, Array<number>(layers).fill(width), 1))
    statesBefore(logits).forEach((state, layer) => {
      const mean = o.within(graph, () => weighted(state, counted)) // (batch, width of the student)
      towards(hint.scope(`layer.${layer}`), mean, theirs[layer], layered.weight / layers)
    })
  }
  return { loss, correct: own.correct }
}

/** What the layers of a Transformer give, (batch, time, width) each. */
function statesBefore({ graph }: Value): Value[] {
  const values = new Map(graph.nodes.flatMap(({ inputs, outputs }) => [...inputs, ...outputs].map((v) => [v?.name, v])))
  const nodes = graph.nodes.map(({ proto, inputs, outputs }) => ({
    opType: proto.opType,
    input: inputs.map((value) => value?.name ?? ''),
    output: outputs.map(({ name }) => name),
  }))
  return layerStates(nodes).map((name) => values.get(name)!)
}

/** What the last product makes logits of; throws UNSUPPORTED where they come of something else. */
function vectorsBefore(logits: Value): Value {
  const node = logits.graph.nodes.find(({ outputs }) => outputs.some(({ name }) => name === logits.name))
  const x = node?.proto.opType === 'Gemm' ? node.inputs[0] : undefined
  if (x?.shape.length === 2) return x
  throw fail('UNSUPPORTED', {
    what: 'learning a teacher’s vectors by a network that answers without a product',
    instead: 'Teach it by answers alone: hidden=0.',
  })
}

/** The batch with what the teacher says of its rows. */
export function withLessons(
  batch: Batch,
  rows: Int32Array,
  { soft, vectors, states }: Lessons,
  classes: number,
): Batch {
  const taken = (all: Float32Array, width: number): BatchTensor => {
    const data = new Float32Array(rows.length * width)
    rows.forEach((row, r) => {
      data.set(all.subarray(row * width, (row + 1) * width), r * width)
    })
    return { type: 'float32', dims: [rows.length, width], data }
  }
  const more = {
    teacher: taken(soft, classes),
    ...(vectors && { 'teacher.vectors': taken(vectors.data, vectors.width) }),
    ...(states && { 'teacher.states': taken(states.data, states.layers * states.width) }),
  }
  return { ...batch, tensors: { ...batch.tensors, ...more } }
}
