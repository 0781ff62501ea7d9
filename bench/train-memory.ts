import { trainingGraph } from '../src/autograd/training.ts'
import { FULL } from '../src/nn/bert.ts'
import { encoderLoss } from '../src/nn/encoders.ts'
import { TrainingSession } from '../src/train/session.ts'
import { textWork, type Work } from './lib/work.ts'
import type { Result } from './main.ts'
import { decoderWork } from './train-gpt.ts'
import { imageWork } from './train-resnet.ts'

export const description =
  'resident memory over 10,000 training steps of a tiny network of each kind (ATHANOR_STEPS, ATHANOR_BENCH_ONLY): no leak'

const STEPS = Number(process.env.ATHANOR_STEPS ?? 10_000)
const WARM = STEPS / 5

const text = { rows: 16, time: 8, vocabulary: 50, width: 8, dropout: 0.1 }
const wide = { ...text, width: 16, layers: 1, heads: 2, inner: 32 }
const unmeasured = { products: 0, goal: 1 }
const works: Record<string, Pick<Work, 'graph' | 'batch' | 'rows' | 'learningRate'>> = {
  LSTM: textWork('lstm', { ...text, hidden: 8, layers: 1, bidirectional: true, pooling: 'max' }, unmeasured),
  TextCNN: textWork('textcnn', { ...text, filters: 4, narrowest: 2, windows: 2 }, unmeasured),
  bag: textWork('bow', { ...text, ngrams: 2, buckets: 500 }, unmeasured),
  Transformer: textWork('transformer', { ...wide, positions: 'waves', pooling: 'mean' }, unmeasured),
  encoder: encoderWork(),
  GPT: decoderWork({ rows: 16, time: 8, vocabulary: 50, width: 16, layers: 1, heads: 2 }).work,
  ResNet: imageWork({ rows: 16, size: 8, width: 16, blocks: 1, classes: 10 }),
}

/** Classification by an encoder of BERT's kind, all weights. */
function encoderWork() {
  const head = { task: 'text-classification', classes: 2 } as const
  const config = { ...wide, layout: 'bert', positions: 8, firstPosition: 0, types: 2, activation: 'gelu' } as const
  const sizes = { ...config, epsilon: 1e-12, padding: 0 }
  const graph = () => trainingGraph((network) => encoderLoss(network, sizes, head, { tuning: FULL, dropout: 0.1 }))
  return { ...textWork('transformer', wide, unmeasured), graph }
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const results: Result[] = []
  const only = process.env.ATHANOR_BENCH_ONLY?.split(',')
  for (const [name, work] of Object.entries(works).filter(([name]) => only?.includes(name) ?? true)) {
    const { warm, end } = await memoryOf(work, (line) => log(`${name}: ${line}`))
    results.push(
      { measure: `${name}: resident memory after ${WARM} steps`, value: warm, unit: 'MB' },
      { measure: `${name}: resident memory after ${STEPS} steps`, value: end, unit: 'MB', floor: warm },
      { measure: `${name}: growth a step`, value: ((end - warm) * 1024) / (STEPS - WARM), unit: 'kB' },
    )
  }
  return results
}

async function memoryOf(work: (typeof works)[string], log: (line: string) => void) {
  const session = await TrainingSession.create(work.graph(), {
    optimizer: 'adamw',
    weightDecay: 0.01,
    clipNorm: 1,
    seed: 1,
    threads: 2,
    batchSize: work.rows,
  })
  const resident = () => process.memoryUsage().rss / 2 ** 20
  let warm = 0
  while (session.step < STEPS) {
    await session.train(work.batch(session.step), work.learningRate)
    if (session.step === WARM) warm = resident()
    if (session.step % WARM === 0) log(`step ${session.step}: ${resident().toFixed(1)} MB`)
  }
  const end = resident()
  await session.close()
  return { warm, end }
}
