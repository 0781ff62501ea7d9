import { TrainingSession } from '../src/train/session.ts'
import { textWork, type Work } from './lib/work.ts'
import type { Result } from './main.ts'
import { imageWork } from './train-resnet.ts'

export const description =
  'resident memory over 10,000 training steps of a tiny LSTM and a tiny residual network: no leak'

const STEPS = 10_000
const WARM = 2_000

const text = { vocabulary: 50, width: 8, hidden: 8, layers: 1, bidirectional: true, pooling: 'max', dropout: 0.1 }
const works: Record<string, Work> = {
  LSTM: textWork('lstm', { rows: 16, time: 8, ...text }, { products: 0, goal: 1 }),
  ResNet: imageWork({ rows: 16, size: 8, width: 16, blocks: 1, classes: 10 }),
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const results: Result[] = []
  for (const [name, work] of Object.entries(works)) {
    const { warm, end } = await memoryOf(work, (line) => log(`${name}: ${line}`))
    results.push(
      { measure: `${name}: resident memory after ${WARM} steps`, value: warm, unit: 'MB' },
      { measure: `${name}: resident memory after ${STEPS} steps`, value: end, unit: 'MB', floor: warm },
      { measure: `${name}: growth a step`, value: ((end - warm) * 1024) / (STEPS - WARM), unit: 'kB' },
    )
  }
  return results
}

async function memoryOf(work: Work, log: (line: string) => void) {
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
