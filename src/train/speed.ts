import ort from '../base/onnxruntime.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import type { Options } from './options.ts'

const SIZE = 384
const PRODUCTS = 12

/** Floating-point operations a second that matrix products reach on this machine; measured in about 50 ms. */
export async function measureSpeed(threads: number): Promise<number> {
  const graph = new GraphBuilder()
  const [a, b] = ['a', 'b'].map((name) => graph.input(name, 'float32', [SIZE, SIZE]))
  graph.output(o.matMul(a, b), 'c')
  const session = await ort.InferenceSession.create(writeModel(graph.build()), {
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
  })
  try {
    const matrix = () => new ort.Tensor('float32', new Float32Array(SIZE * SIZE).fill(0.5), [SIZE, SIZE])
    const feeds = { a: matrix(), b: matrix() }
    await session.run(feeds)
    let fastest = Number.POSITIVE_INFINITY
    for (let i = 0; i < PRODUCTS; i++) {
      const started = performance.now()
      await session.run(feeds)
      fastest = Math.min(fastest, performance.now() - started) // others may be at work for a moment
    }
    return (2 * SIZE ** 3) / (fastest / 1000)
  } finally {
    await session.release()
  }
}

/** What an estimate needs to know of the data and of how it is cut. */
export interface Work {
  rows: number
  tokens: number
  vocabulary: number
  classes: number
  epochs: number
}

/** Operations forward and backward for a token, parameters, and the share of a matrix product's speed it reaches. */
interface Cost {
  perToken: number
  parameters: number
  share: number
}

/** Three passes of a product: forward, and backward to the input and to the weights. */
const PASSES = 3 * 2

const recurrent =
  (gates: number) =>
  ({ width, hidden, layers, bidirectional }: Options, { vocabulary, classes }: Work): Cost => {
    const directions = bidirectional ? 2 : 1
    const [w, h, n] = [Number(width), Number(hidden), Number(layers)]
    const inner = h * directions
    const weights = directions * gates * h * (w + h) + (n - 1) * directions * gates * h * (inner + h)
    return { perToken: PASSES * weights, parameters: vocabulary * w + weights + inner * classes, share: 0.3 }
  }

const convolutions = ({ width, filters, narrowest, windows }: Options, { vocabulary, classes }: Work): Cost => {
  const sizes = Array.from({ length: Number(windows) }, (_, i) => Number(narrowest) + i)
  const weights = sizes.reduce((sum, size) => sum + size, 0) * Number(width) * Number(filters)
  const parameters = vocabulary * Number(width) + weights + sizes.length * Number(filters) * classes
  return { perToken: (2 / 3) * PASSES * weights, parameters, share: 0.25 }
}

const bag = ({ width, ngrams, buckets }: Options, { vocabulary, classes }: Work): Cost => {
  const table = vocabulary + (Number(ngrams) > 1 ? Number(buckets) : 0)
  const parameters = table * Number(width) + Number(width) * classes
  return { perToken: PASSES * Number(width) * Number(ngrams), parameters, share: 0.01 }
}

/** Costs by family; shares are rough, from runs on two cores. */
const costs: Record<string, (options: Options, work: Work) => Cost> = {
  lstm: recurrent(4),
  gru: recurrent(3),
  rnn: recurrent(1),
  textcnn: convolutions,
  bow: bag,
  wide(options, work) {
    const [judged, met] = [convolutions(options, work), bag({ ...options, width: options.bagWidth }, work)]
    const perToken = judged.perToken + (met.perToken * judged.share) / met.share
    return { perToken, parameters: judged.parameters + met.parameters, share: judged.share }
  },
  transformer({ width, layers, inner }, { vocabulary, classes, rows, tokens }) {
    const [w, n] = [Number(width), Number(layers)]
    const weights = n * (4 * w * w + 2 * w * Number(inner))
    const attention = n * 2 * w * (tokens / Math.max(1, rows))
    return { perToken: PASSES * (weights + attention), parameters: vocabulary * w + weights + w * classes, share: 0.4 }
  },
}

/** Bytes a second at which the optimizer passes over its vectors, and how many bytes it moves for a parameter. */
const MEMORY = 6e9
const MOVED = 28
/** Seconds of a step beside the arithmetic. */
const STEP = 0.002

/** Seconds that training takes, about: arithmetic at the machine's speed, and the optimizer at that of its memory. */
export function estimateSeconds(family: string, options: Options, work: Work, speed: number): number {
  const cost = costs[family]?.(options, work)
  if (!cost) return Number.NaN
  const steps = Math.ceil(work.rows / Number(options.batchSize))
  const arithmetic = (work.tokens * cost.perToken) / (speed * cost.share)
  const update = steps * ((cost.parameters * MOVED) / MEMORY + STEP)
  return work.epochs * (arithmetic + update)
}
