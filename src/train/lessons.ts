import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Network } from '../autograd/training.ts'
import { fail } from '../base/errors.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { dense } from '../nn/layers.ts'
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
}

/** Row by row: probabilities of the classes (texts, classes), and the vectors that they are made from (texts, width). */
export interface Answers {
  readonly probabilities: Float32Array
  readonly vectors?: Float32Array
}

/** What a teacher says of all training rows: softened probabilities, and vectors of length 1. */
export interface Lessons {
  readonly soft: Float32Array
  readonly vectors?: { readonly data: Float32Array; readonly width: number }
}

const AT_ONCE = 256

/** What the teacher makes of all training rows; kept for a run that goes on later. */
export async function* lessons(
  { answers, temperature, hidden }: Teacher,
  texts: string,
  rows: number,
  classes: number,
): AsyncGenerator<TrainEvent, Lessons> {
  const paths = { soft: `${texts}.lessons`, vectors: `${texts}.vectors` }
  const kept = (path: string) => new Float32Array(new Uint8Array(readFileSync(path)).buffer)
  if (existsSync(paths.soft) && (hidden === 0 || existsSync(paths.vectors)))
    return lessonsOf(kept(paths.soft), hidden > 0 ? kept(paths.vectors) : undefined, rows)
  const soft = new Float32Array(rows * classes)
  let vectors: Float32Array | undefined
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
  writeFileSync(paths.soft, new Uint8Array(soft.buffer))
  return lessonsOf(soft, vectors, rows)
}

const lessonsOf = (soft: Float32Array, data: Float32Array | undefined, rows: number): Lessons => ({
  soft,
  ...(data && { vectors: { data, width: data.length / rows } }),
})

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
 * product of their own, point elsewhere than the teacher's (Sanh et al. 2019).
 */
export function taughtLoss(
  network: Network,
  own: { loss: Value; correct: Value },
  logits: Value,
  { vectors }: Lessons,
  { temperature, share, hidden }: Teacher,
) {
  const { graph } = network
  const classes = Number(logits.shape[1])
  const given = graph.input('teacher', 'float32', ['batch', classes])
  const taught = o.within(graph, () => {
    const said = o.logSoftmax(o.mul(logits, 1 / temperature)) // (batch, classes)
    return o.neg(o.reduceMean(o.reduceSum(o.mul(given, said), [1])))
  })
  const loss = o.within(graph, () => o.add(o.mul(own.loss, 1 - share), o.mul(taught, share * temperature ** 2)))
  if (!vectors) return { loss, correct: own.correct }
  const mine = dense(network.scope(HINT.slice(0, -1)), vectorsBefore(logits), vectors.width) // (batch, width)
  const theirs = graph.input('teacher.vectors', 'float32', ['batch', vectors.width])
  const cosine = o.within(graph, () => {
    const length = o.sqrt(o.add(o.reduceSum(o.mul(mine, mine), [1]), 1e-12)) // (batch)
    return o.reduceMean(o.div(o.reduceSum(o.mul(mine, theirs), [1]), length))
  })
  return { loss: o.within(graph, () => o.sub(loss, o.mul(cosine, hidden))), correct: own.correct }
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
export function withLessons(batch: Batch, rows: Int32Array, { soft, vectors }: Lessons, classes: number): Batch {
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
  }
  return { ...batch, tensors: { ...batch.tensors, ...more } }
}
