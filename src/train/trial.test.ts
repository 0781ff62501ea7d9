import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readBundle } from '../bundle/bundle.ts'
import type { TrainJob } from './job.ts'
import { Trials } from './trial.ts'

const folder = mkdtempSync(join(tmpdir(), 'athanor-trial-'))
after(() => rmSync(folder, { recursive: true, force: true }))

async function drain<T>(steps: AsyncGenerator<unknown, T>): Promise<T> {
  let next = await steps.next()
  while (!next.done) next = await steps.next()
  return next.value
}

test('the mean of the best two trials that cut texts alike is a trial, and becomes a version that answers so', async () => {
  const path = join(folder, 'x.csv')
  const words = 'red blue green tall wide deep slow fast warm cold'.split(' ')
  const row = (i: number) => `${words[i % 10]} ${words[(i * 7 + 3) % 10]} number ${i},${i % 10 < 5 ? 'a' : 'b'}`
  writeFileSync(path, `text,label\n${Array.from({ length: 200 }, (_, i) => row(i)).join('\n')}\n`)
  const dataset = { path, name: 'x.csv' }
  const job: TrainJob = { run: 'x-1', spec: { dataset: 'x', model: 'auto', seed: 1 }, dataset, folder }
  const trials = await drain(Trials.open(job))
  const tiny = { width: 8, epochs: 2, learningRate: 0.02, minimumCount: 1, threads: 1, tokenizer: 'word' }
  const stop = new AbortController().signal
  const train = (trial: ReturnType<typeof trials.add>) => drain(trials.advance(trial, (all) => all, { stop }))
  await train(trials.add('bow', { ...tiny, buckets: 100 }))
  await train(trials.add('textcnn', { ...tiny, tokenizer: 'character', filters: 4 }))
  assert.equal(trials.addMean(), undefined, 'these two cut texts in different ways')
  await train(trials.add('textcnn', { ...tiny, filters: 4 }))

  const mean = trials.addMean()!
  assert.equal(await train(mean), 'done')
  assert.deepEqual(mean.members!.toSorted(), [1, 3])
  const [one, three] = [1, 3].map((number) => trials.list[number - 1])
  assert.equal(mean.parameters, one.parameters! + three.parameters!)
  // the mean of logits never has a greater loss than the mean of the losses
  assert.ok(mean.metrics!.loss < (one.metrics!.loss + three.metrics!.loss) / 2, JSON.stringify(trials.list))

  const { bundle, metrics } = await drain(trials.conclude(mean))
  const { manifest } = await readBundle(bundle)
  assert.equal(manifest.family, mean.family)
  assert.match(manifest.family, /^(bow\+textcnn|textcnn\+bow)$/)
  assert.ok(metrics.rows > 0 && Math.abs(metrics.validationAccuracy - mean.metrics!.accuracy) < 1e-9)
})
