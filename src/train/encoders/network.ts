import { availableParallelism } from 'node:os'
import { type TrainingGraph, trainingGraph } from '../../autograd/training.ts'
import type ort from '../../base/onnxruntime.ts'
import { bundleEncoder } from '../../formats/huggingface/bundle.ts'
import type { PublishedEncoder } from '../../formats/huggingface/folder.ts'
import { writeModel } from '../../graph/codec.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { merged } from '../../nn/bert.ts'
import { type EncoderHead, encoderLoss, encoderModel, type LearningOptions } from '../../nn/encoders.ts'
import type { Weights } from '../checkpoint.ts'
import type { Learner } from '../learner.ts'
import { openMeasured } from '../opened.ts'
import type { Options } from '../options.ts'
import { learningOf, startOf } from './base.ts'

/** An encoder with a head, as the loop trains it and as it is served. */
export interface EncoderNetwork {
  readonly graph: TrainingGraph
  readonly initial: Weights
  /** The graph that is served, from trained weights. */
  served(weights: Weights): ModelProto
  /** What the manifest says of it, and its files. */
  bundle(weights: Weights): Awaited<ReturnType<Learner['bundle']>>
}

export function encoderNetwork(
  base: PublishedEncoder,
  head: EncoderHead,
  labels: string[],
  options: Options,
  more: Partial<LearningOptions> = {},
): EncoderNetwork {
  const { config } = base
  const learning = { ...learningOf(options, base), ...more }
  const { tuning } = learning
  const finished = (weights: Weights) => (tuning.mode === 'lora' ? merged(weights, tuning.alpha) : weights)
  return {
    graph: trainingGraph((network) => encoderLoss(network, config, head, learning)),
    initial: startOf(base, head, labels),
    served: (weights) => encoderModel(config, head, finished(weights)),
    bundle: (weights) => bundleEncoder({ ...base, head, labels, weights: finished(weights) }),
  }
}

/** Opens the graph of trained weights for an evaluation, and lets go of it after. */
export async function withSession<T>(
  model: ModelProto,
  threads: number,
  use: (session: ort.InferenceSession) => Promise<T>,
): Promise<T> {
  const session = await openMeasured(writeModel(model), Math.min(threads, availableParallelism()))
  try {
    return await use(session)
  } finally {
    await session.release()
  }
}

const int64 = (dims: number[], data: BigInt64Array) => ({ type: 'int64', dims, data }) as const

/** Lists of numbers as the rows of one matrix, filled up to a multiple of 8, so that few shapes occur. */
export function padded(lists: readonly ArrayLike<number>[], filler = 0) {
  const longest = lists.reduce((most, { length }) => Math.max(most, length), 1)
  const time = Math.ceil(longest / 8) * 8
  const data = new BigInt64Array(lists.length * time).fill(BigInt(filler))
  lists.forEach((list, r) => {
    for (let t = 0; t < list.length; t++) data[r * time + t] = BigInt(list[t])
  })
  return { time, tensor: int64([lists.length, time], data) }
}

/** A list of whole numbers as a tensor of the given shape. */
export const whole = (dims: number[], values: readonly number[]) => int64(dims, BigInt64Array.from(values, BigInt))
