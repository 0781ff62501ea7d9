import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readBundle } from '../bundle/bundle.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { textGenerationRunner } from '../engine/runners/text-generation.ts'
import { readModel } from '../graph/codec.ts'
import { fromProto } from '../graph/tensor-proto.ts'
import type { RunSpec, TrainEvent } from './events.ts'
import type { TrainJob, TrainResult } from './job.ts'
import { train } from './train.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-decoder-'))
after(() => rmSync(home, { recursive: true, force: true }))

const animals = ['cat', 'dog', 'fox']
const places = { cat: 'mat', dog: 'den', fox: 'park' } as Record<string, string>
const lines = (count: number) =>
  Array.from(
    { length: count },
    (_, i) => `the ${animals[(i * 7 + (i >> 2)) % 3]} sat on the ${places[animals[(i * 7 + (i >> 2)) % 3]]}.\n`,
  )
const small = { context: 32, width: 32, layers: 2, heads: 2, batchSize: 16, learningRate: 0.01, threads: 1, epochs: 12 }

let runs = 0
async function learn(name: string, content: string, spec: Partial<RunSpec>, from?: TrainJob['from'], killAt?: number) {
  const folder = join(home, `run${runs++}`)
  const path = join(home, name)
  writeFileSync(path, content)
  const whole: RunSpec = { task: 'text-generation', dataset: name, seed: 3, ...spec }
  const job: TrainJob = { run: 'run', spec: whole, dataset: { path, name }, folder, ...(from && { from }) }
  const events: TrainEvent[] = []
  let result: TrainResult | undefined
  for (let attempt = 0; !result; attempt++) {
    const stop = new AbortController()
    const telling = train(job, stop.signal)
    let next = await telling.next()
    for (; !next.done; next = await telling.next()) {
      events.push(next.value)
      if (attempt === 0 && next.value.type === 'epoch' && next.value.epoch === killAt) stop.abort()
    }
    result = next.value
  }
  const { manifest, files } = await readBundle(result.bundle)
  return { events, metrics: result.metrics, manifest, files, from: { ref: 'x@1', manifest, files } }
}

async function write(manifest: Manifest, files: Record<string, string>, request: object) {
  const runner = await textGenerationRunner(manifest, (file) => readFileSync(files[file]), {
    threads: 1,
    tokenBudget: 0,
  })
  const settings = { maxTokens: 12, temperature: 0, topP: 1, topK: 0, stop: [], repetitionPenalty: 1 }
  const penalties = { presencePenalty: 0, frequencyPenalty: 0 }
  let text = ''
  for await (const event of runner.generate!({ ...settings, ...penalties, ...request }, new AbortController().signal))
    text += event.text
  await runner.close?.()
  return text
}

for (const family of ['gpt', 'llama']) {
  test(`${family}: a corpus is learnt, shown as it goes, and written on; a run that is stopped ends the same`, async () => {
    const spec = { family, options: { ...small, tokenizer: 'character', prompt: 'the fox' } }
    const { events, metrics, manifest, files } = await learn('book.txt', lines(600).join(''), spec)
    const epochs = events.filter((event) => event.type === 'epoch')
    assert.ok(epochs.at(-1)!.validation.loss < epochs[0].validation.loss)
    assert.ok(metrics.perplexity < 1.4, JSON.stringify(metrics))
    assert.ok(Math.abs(Math.log(metrics.perplexity) - metrics.loss) < 1e-9)
    const samples = events.filter((event) => event.type === 'sample')
    assert.equal(samples.length, epochs.length)
    assert.ok(samples.at(-1)!.text.startsWith('the fox'))
    assert.equal(manifest.family, family)
    for (const animal of animals)
      assert.equal(await write(manifest, files, { prompt: `the ${animal} sat on the `, stop: ['.'] }), places[animal])
    assert.equal((await write(manifest, files, { prompt: '', maxTokens: 5 })).length, 5)

    const broken = await learn('book.txt', lines(600).join(''), spec, undefined, 2)
    assert.ok(readFileSync(broken.files['model.onnx']).equals(readFileSync(files['model.onnx'])), 'bit for bit')
  })
}

test('conversations are learnt by their answers; the model goes on learning, wholly and by low rank', async () => {
  const talk = (i: number) => {
    const animal = animals[i % 3]
    const content = `${i}: where is the ${animal}?`
    return JSON.stringify({
      messages: [
        { role: 'user', content },
        { role: 'assistant', content: `on the ${places[animal]}` },
      ],
    })
  }
  const talks = Array.from({ length: 300 }, (_, i) => talk(i)).join('\n')
  const options = { ...small, context: 64, tokenizer: 'character' }
  const first = await learn('talks.jsonl', talks, { options: { ...options, epochs: 12 } })
  const ask = (model: Pick<typeof first, 'manifest' | 'files'>, animal: string) =>
    write(model.manifest, model.files, { messages: [{ role: 'user', content: `7: where is the ${animal}?` }] })
  for (const animal of animals) assert.equal(await ask(first, animal), `on the ${places[animal]}`)

  const changed = talks.replaceAll('on the mat', 'in the park')
  const weights = (files: Record<string, string>) =>
    new Map(
      (readModel(readFileSync(files['model.onnx'])).graph?.initializer ?? []).map((proto) => [
        proto.name,
        fromProto(proto),
      ]),
    )
  const before = weights(first.files)
  for (const adapt of ['all', 'lora']) {
    const spec = { from: 'x@1', options: { ...options, adapt, rank: 4, epochs: 6 } }
    const next = await learn('talks.jsonl', changed, spec, first.from)
    assert.equal(await ask(next, 'cat'), 'in the park', adapt)
    assert.equal(await ask(next, 'dog'), 'on the den', adapt)
    const after = weights(next.files)
    assert.deepEqual([...after.keys()], [...before.keys()], 'merged: no weight more')
    const same = (name: string) =>
      (before.get(name)!.data as Float32Array).every((value, i) => value === after.get(name)!.data[i])
    assert.equal(same('embedding/weight'), adapt === 'lora')
    assert.ok(!same('layer.0/attention/in/weight'))
    assert.equal(next.manifest.parameters, first.manifest.parameters)
  }
})

test('what cannot be learnt is refused with the reason', async () => {
  const refused = (code: string, part: string) => (error: Error & { code?: string }) =>
    error.code === code && error.message.includes(part)
  await assert.rejects(learn('short.txt', 'too short', {}), refused('CORPUS_SHORT', 'tokens'))
  const from = { ref: 'x@1', files: {}, manifest: { task: 'tensor' } as Manifest }
  await assert.rejects(learn('a.txt', 'text', { from: 'x@1' }, from), refused('UNSUPPORTED', 'decoder'))
  await assert.rejects(
    learn('a.txt', lines(50).join(''), { options: { adapt: 'lora' } }),
    refused('OPTION_INVALID', 'adapt'),
  )
  await assert.rejects(learn('a.txt', 'text', { family: 'lstm' }), refused('OPTION_INVALID', 'text-classification'))
  await assert.rejects(learn('a.txt', 'text', { options: { width: 30 } }), refused('OPTION_INVALID', 'heads'))
  await assert.rejects(learn('a.txt', 'text', { task: 'poetry' }), refused('OPTION_INVALID', 'text-generation'))
})
