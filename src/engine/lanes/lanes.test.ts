import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import ort from '../../base/onnxruntime.ts'
import { tinyClassifier } from '../../testing/tiny.ts'
import { tinyEmbedder } from '../../testing/tiny-embedder.ts'
import { Engine } from '../engine.ts'
import { Lanes } from './lanes.ts'

function saved(t: TestContext, files: Record<string, Uint8Array>) {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-lanes-'))
  t.after(() => rmSync(folder, { recursive: true }))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
  return Object.fromEntries(Object.keys(files).map((name) => [name, join(folder, name)]))
}

async function opened(paths: Record<string, string>, threads: number) {
  const lanes = await Lanes.open((name) => readFileSync(paths[name]), { threads, paths })
  lanes.widen()
  return lanes
}

test('lanes give what all threads together give, and an error of one leaves it open', async (t) => {
  const paths = saved(t, (await tinyEmbedder()).files)
  const lanes = await opened(paths, 2)
  t.after(() => lanes.close())
  assert.equal(lanes.count, 1, 'they are opened in the background')
  while (lanes.count === 1) await wait(5)
  const feeds = (...ids: bigint[]) => ({
    ids: new ort.Tensor('int64', BigInt64Array.from(ids), [1, ids.length]),
    lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(ids.length)), [1]),
  })
  const run = async (input: Record<string, ort.Tensor>, alone: boolean) => [
    ...((await lanes.run(input, ['embeddings'], alone)).embeddings.data as Float32Array),
  ]
  for (let turn = 0; turn < 2; turn++) {
    const refused = await Promise.allSettled([run(feeds(5000n), false), run(feeds(5001n), false)])
    for (const one of refused) assert.match(String((one as PromiseRejectedResult).reason), /indices|out of/i)
  }
  const [first, second] = [feeds(3n, 9n, 4n), feeds(7n)]
  assert.deepEqual(await Promise.all([run(first, false), run(second, false)]), [
    await run(first, true),
    await run(second, true),
  ])
})

test('a graph is whole with one thread, and where it reads texts step by step', async (t) => {
  const [embedder, classifier] = [saved(t, (await tinyEmbedder()).files), saved(t, (await tinyClassifier()).files)]
  for (const lanes of [await opened(embedder, 1), await opened(classifier, 2)]) {
    await lanes.close() // which waits for lanes that are being opened
    assert.equal(lanes.count, 1)
  }
})

test('an engine answers many texts at once by lanes, half of them in each', { timeout: 60_000 }, async (t) => {
  const { manifest, files, embed } = await tinyEmbedder()
  const engine = new Engine({ name: 'tiny', version: 1, manifest, files: saved(t, files) }, { threads: 2 })
  t.after(() => engine.stop(0))
  const texts = ['the fox', '今天天气', 'a quick dog', '公园散步', 'over the lazy fox']
  const batches = new Set<number>()
  const ask = async (index: number) => {
    const text = texts[index % texts.length]
    const { output, timings } = await engine.request({ texts: [text] }, { deadline: 10_000 })
    assert(output.kind === 'vectors')
    const expected = await embed(text)
    for (const [i, value] of output.vectors.entries()) assert(Math.abs(value - expected[i]) < 1e-5, text)
    batches.add(timings.batch)
  }
  while (!batches.has(12)) {
    await Promise.all(Array.from({ length: 24 }, (_, index) => ask(index)))
  }
})
