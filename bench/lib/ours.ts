// Our side of a training race: `node ours.ts train-lstm` answers lines on stdin as bench/peers/trainer.py does.
import { createInterface } from 'node:readline'
import { blockSize } from '../../src/train/block.ts'
import { isPlanned } from '../../src/train/memory.ts'
import { TrainingSession, waysOf } from '../../src/train/session.ts'
import { fills, valuesOf, type Work } from './work.ts'

const { work } = (await import(`../${process.argv[2]}.ts`)) as { work: Work }
const graph = work.graph()
const session = await TrainingSession.create(graph, {
  optimizer: 'adamw',
  weightDecay: 0,
  clipNorm: 0,
  seed: 1,
  threads: 2,
  batchSize: work.rows,
  planned: isPlanned(graph, work.batch(0), {
    ways: waysOf(graph, { threads: 2, batchSize: work.rows }),
    block: await blockSize(),
  }),
})
const byFormula = () =>
  Object.fromEntries(fills(graph).map((fill, k) => [fill.name, { dims: fill.dims, data: valuesOf(fill, k) }]))
session.restore((await work.weights?.()) ?? byFormula(), 0)
const step = async () => {
  const batch = work.batch(session.step)
  const started = performance.now()
  const { loss } = await session.train(batch, work.learningRate)
  return { loss, ms: performance.now() - started }
}
console.log(JSON.stringify({ ready: true }))
for await (const line of createInterface(process.stdin)) {
  const [what, amount] = line.split(' ')
  const answer: number[] = []
  const until = performance.now() + Number(amount) * 1000
  if (what === 'losses') while (answer.length < Number(amount)) answer.push((await step()).loss)
  else while (performance.now() < until) answer.push((await step()).ms)
  console.log(JSON.stringify(answer))
}
await session.close()
