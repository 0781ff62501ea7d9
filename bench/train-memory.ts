import { TrainingSession } from '../src/train/session.ts'
import { textWork } from './lib/work.ts'
import type { Result } from './main.ts'

export const description = 'resident memory over 10,000 training steps of a tiny LSTM: no leak'

const STEPS = 10_000
const WARM = 2_000

export async function run(log: (line: string) => void): Promise<Result[]> {
  const config = {
    rows: 16,
    time: 8,
    vocabulary: 50,
    width: 8,
    hidden: 8,
    layers: 1,
    bidirectional: true,
    pooling: 'max',
  }
  const work = textWork('lstm', { ...config, dropout: 0.1 }, { products: 0, goal: 1 })
  const session = await TrainingSession.create(work.graph(), {
    optimizer: 'adamw',
    weightDecay: 0.01,
    clipNorm: 1,
    seed: 1,
    threads: 2,
    batchSize: config.rows,
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
  return [
    { measure: `resident memory after ${WARM} steps`, value: warm, unit: 'MB' },
    { measure: `resident memory after ${STEPS} steps`, value: end, unit: 'MB', floor: warm },
    { measure: 'growth a step', value: ((end - warm) * 1024) / (STEPS - WARM), unit: 'kB' },
  ]
}
