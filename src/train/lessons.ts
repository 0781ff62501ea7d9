import { createReadStream, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { Batch } from './batch.ts'
import type { TrainEvent } from './events.ts'

/** A model that teaches another what it makes of the training texts (Hinton et al. 2015). */
export interface Teacher {
  /** Probabilities of the classes, row by row: (texts, classes). */
  answers(texts: readonly string[]): Promise<Float32Array>
  /** Above 1 the teacher's lesser guesses weigh more. */
  readonly temperature: number
  /** The teacher's part of the loss; the labels have the rest. */
  readonly share: number
}

const AT_ONCE = 256

/** The teacher's probabilities for all training rows, softened by its temperature; kept for a run that goes on later. */
export async function* lessons(
  { answers, temperature }: Teacher,
  texts: string,
  rows: number,
  classes: number,
): AsyncGenerator<TrainEvent, Float32Array> {
  const path = `${texts}.lessons`
  if (existsSync(path)) return new Float32Array(new Uint8Array(readFileSync(path)).buffer)
  const all = new Float32Array(rows * classes)
  let done = 0
  let batch: string[] = []
  const ask = async () => {
    all.set(soften(await answers(batch), classes, temperature), done * classes)
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
  writeFileSync(path, new Uint8Array(all.buffer))
  return all
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

/** With what a teacher says, float32 (batch, classes): its cross-entropy at its temperature, times T² so that its gradients keep their size, beside the labels' own. */
export function taughtLoss(
  own: { loss: Value; correct: Value },
  logits: Value,
  soft: Value,
  { temperature, share }: Teacher,
) {
  return o.within(logits.graph, () => {
    const said = o.logSoftmax(o.mul(logits, 1 / temperature)) // (batch, classes)
    const taught = o.neg(o.reduceMean(o.reduceSum(o.mul(soft, said), [1])))
    const loss = o.add(o.mul(own.loss, 1 - share), o.mul(taught, share * temperature ** 2))
    return { loss, correct: own.correct }
  })
}

/** The batch with what the teacher says of its rows. */
export function withLessons(batch: Batch, rows: Int32Array, all: Float32Array, classes: number): Batch {
  const data = new Float32Array(rows.length * classes)
  rows.forEach((row, r) => {
    data.set(all.subarray(row * classes, (row + 1) * classes), r * classes)
  })
  return { ...batch, tensors: { ...batch.tensors, teacher: { type: 'float32', dims: [rows.length, classes], data } } }
}
