// Many steps of a network of bench/train-memory.ts: `node steps.ts GPT 10000` prints resident memory, in MB, at every hundredth.
import { TrainingSession } from '../../src/train/session.ts'
import { works } from '../train-memory.ts'

const [name, given] = process.argv.slice(2)
const [work, steps] = [works[name], Number(given)]
const session = await TrainingSession.create(work.graph(), {
  optimizer: 'adamw',
  weightDecay: 0.01,
  clipNorm: 1,
  seed: 1,
  threads: work.threads ?? 2,
  batchSize: work.rows,
})
const every = Math.ceil(steps / 100)
while (session.step < steps) {
  await session.train(work.batch(session.step), work.learningRate)
  if (session.step % every === 0) console.log(process.memoryUsage.rss() / 2 ** 20)
}
await session.close()
