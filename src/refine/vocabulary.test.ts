import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import { readModel } from '../graph/codec.ts'
import { madeClassifier, noTraining, sentences } from '../testing/classifiers.ts'
import { plainManifest } from '../testing/manifest.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { resolveOptions } from '../train/options.ts'
import { difference, runOn } from './compare.ts'
import { foldConstants } from './fold.ts'
import { feedsFor } from './inputs.ts'
import { passes } from './passes.ts'
import type { Subject } from './subject.ts'

const contextOf = (heldIn: Subject['files'] extends never ? never : { text: string; label: string }[]) => ({
  heldIn,
  threads: 1,
  folder: '',
  stop: new AbortController().signal,
  training: noTraining,
})

const texted = (texts: readonly string[]) => texts.map((text) => ({ text, label: '' }))

async function apply(name: keyof typeof passes, subject: Subject, heldIn: { text: string; label: string }[]) {
  const pass = passes[name]
  const steps = pass.apply(subject, resolveOptions(pass.options, {}), contextOf(heldIn))
  for (;;) {
    const { value, done } = await steps.next()
    if (done) return value
  }
}

for (const family of ['lstm', 'textcnn', 'transformer'] as const) {
  test(`${family}: the vocabulary shrinks to what the rows use, and they are answered as before`, async () => {
    const subject = await madeClassifier(family, family === 'transformer' ? { width: 32, heads: 2 } : { width: 16 })
    const rows = sentences(12, 3)
    const { subject: trimmed } = await apply('trim', subject, rows)
    const before = await runOn(subject.model, await feedsFor(subject, rows), 1)
    const after = await runOn(trimmed.model, await feedsFor(trimmed, rows), 1)
    assert.ok(difference(before, after).error < 1e-6)
    assert.ok(trimmed.manifest.parameters < subject.manifest.parameters)
    const { vocabulary } = trimmed.manifest.pipeline as unknown as PipelineConfig
    assert.equal(
      trimmed.model.graph!.initializer.find(({ name }) => name === 'embedding/weight')!.dims[0],
      BigInt(vocabulary),
    )
    const unknown = await feedsFor(trimmed, [{ text: 'neverseen w0', label: '' }])
    assert.ok((await runOn(trimmed.model, unknown, 1)).rows[0].every(Number.isFinite))
  })
}

test('a byte-pair tokenizer keeps what its used tokens are merged from', async () => {
  const rows = sentences(120)
  async function* texts() {
    for (const { text } of rows) yield text
  }
  const config = {
    normalise: { unicode: 'NFKC', lowercase: true },
    vocabulary: 400,
    minimumCount: 1,
    maxLength: 64,
  } as const
  const pipeline = await TextPipeline.train(texts(), { ...config, tokenizer: 'bpe' })
  const made = await madeClassifier('lstm', { width: 8, hidden: 8 })
  const table = made.model.graph!.initializer.find(({ name }) => name === 'embedding/weight')!
  table.dims = [BigInt(pipeline.vocabularySize), 8n]
  table.rawData = new Uint8Array(
    Float32Array.from({ length: pipeline.vocabularySize * 8 }, (_, i) => Math.sin(i)).buffer,
  )
  const subject: Subject = {
    ...made,
    manifest: { ...made.manifest, pipeline: pipeline.config as unknown as Record<string, unknown> },
    files: { 'tokenizer.json': Buffer.from(pipeline.tokenizerJson) },
  }
  const few = rows.slice(0, 5)
  const { subject: trimmed, note } = await apply('trim', subject, few)
  assert.match(note, /^\d+ of \d+ tokens kept$/)
  const used = few.map(({ text }) => text)
  const before = await runOn(subject.model, await feedsFor(subject, texted(used)), 1)
  const after = await runOn(trimmed.model, await feedsFor(trimmed, texted(used)), 1)
  assert.ok(difference(before, after).error < 1e-6)
  assert.ok((trimmed.manifest.pipeline as unknown as PipelineConfig).vocabulary < pipeline.vocabularySize)
})

test('an encoder’s vocabulary shrinks as well; it can then no longer be trained on as an encoder', async () => {
  const rows = sentences(60)
  const texts = rows.map(({ text }) => text)
  const head = { task: 'text-classification', classes: 2 } as const
  const { manifest, files } = bundleEncoder(tinyEncoder(texts, head, { labels: ['bad', 'good'] }))
  const { 'model.onnx': model, ...others } = files as Record<string, Uint8Array>
  const whole = { ...plainManifest, ...manifest } as Subject['manifest']
  const subject = { manifest: whole, model: readModel(model), files: others }
  const few = rows.slice(0, 5)
  const { subject: trimmed } = await apply('trim', subject, few)
  const before = await runOn(subject.model, await feedsFor(subject, few), 1)
  const after = await runOn(trimmed.model, await feedsFor(trimmed, few), 1)
  assert.ok(difference(before, after).error < 1e-6)
  assert.ok(trimmed.manifest.parameters < manifest.parameters)
  assert.equal(trimmed.manifest.encoder, undefined)
})

test('a graph that computes with ids keeps its vocabulary', async () => {
  const subject = await madeClassifier('bow', { width: 8, buckets: 50 })
  await assert.rejects(apply('trim', subject, subject.samples), { code: 'UNSUPPORTED' })
})

test('tidying drops the logits and folds what is constant; the answers stay', async () => {
  const subject = await madeClassifier('transformer', { width: 32, heads: 2 })
  const feeds = await feedsFor(subject, subject.samples)
  const { subject: tidied } = await apply('tidy', subject, [])
  assert.deepEqual(
    tidied.manifest.signature.outputs.map(({ name }) => name),
    ['probabilities'],
  )
  const probabilities = {
    ...subject,
    model: { ...subject.model, graph: { ...subject.model.graph!, output: tidied.model.graph!.output } },
  }
  const before = await runOn(probabilities.model, feeds, 1)
  assert.ok(difference(before, await runOn(tidied.model, feeds, 1)).error < 1e-6)
  const { folded } = await foldConstants(tidied.model)
  assert.equal(folded, 0, 'nothing is left to fold')
})
