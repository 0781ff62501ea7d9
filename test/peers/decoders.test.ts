import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import type { Manifest } from '../../src/bundle/manifest.ts'
import { TextCodec } from '../../src/data/codec.ts'
import { textGenerationRunner } from '../../src/engine/runners/text-generation.ts'
import { bundleDecoder, type StoredDecoder } from '../../src/formats/decoders/decoder.ts'
import { readDecoderFolder, writeDecoderFolder } from '../../src/formats/decoders/huggingface.ts'
import { readLlamaGguf, writeLlamaGguf } from '../../src/formats/gguf/llama.ts'
import { writeModel } from '../../src/graph/codec.ts'
import { decoderGraph } from '../../src/nn/decoder.ts'
import { layerSizes, narrowed, smallDecoder, withLayerSizes } from '../../src/testing/decoders.ts'

// Live oracles: ATHANOR_PYTHON names a Python with torch, transformers, onnxruntime and gguf; ATHANOR_LLAMA a folder in whose
// node_modules node-llama-cpp is installed.
const python = process.env.ATHANOR_PYTHON
const llama = process.env.ATHANOR_LLAMA
const PEER = 'node-llama-cpp'
const home = mkdtempSync(join(tmpdir(), 'athanor-peers-'))
after(() => rmSync(home, { recursive: true, force: true }))

const run = (script: string, ...args: string[]) =>
  JSON.parse(
    execFileSync(python!, ['-c', script, ...args], {
      encoding: 'utf8',
      maxBuffer: 64 << 20,
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  )

function save(folder: string, decoder: StoredDecoder) {
  for (const [name, content] of Object.entries(writeDecoderFolder(decoder))) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
}

async function write(decoder: StoredDecoder, prompt: string, maxTokens: number) {
  const { manifest, files } = bundleDecoder(decoder)
  const runner = await textGenerationRunner(
    manifest as unknown as Manifest,
    (name) => Buffer.from(files[name as keyof typeof files]),
    { threads: 1, tokenBudget: 0 },
  )
  const greedy = { temperature: 0, topP: 1, topK: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 }
  let text = ''
  const tokens: number[] = []
  const tops: { token: number; logprob: number }[][] = []
  for await (const event of runner.generate!(
    { prompt, maxTokens, stop: [], logprobs: 20, ...greedy },
    new AbortController().signal,
  )) {
    text += event.text
    if (event.type !== 'token') continue
    tokens.push(event.token)
    tops.push(event.top ?? [])
  }
  await runner.close?.()
  return { text, tokens, tops }
}

const prompts = ['the quick', '今天', 'over the lazy dog']

for (const [layout, options] of [
  ['gpt', {}],
  ['gpt', { sizes: { heads: 3, keyHeads: 3, headSize: 16 } }],
  ['llama', { tied: false }],
  ['llama', { tied: true, keyHeads: 4 }],
  ['llama', { keyHeads: 1, sizes: { heads: 2, headSize: 16 } }],
] as const) {
  test(`transformers loads a ${layout} (${JSON.stringify(options)}): same tokens, scores and continuations`, {
    skip: !python && 'ATHANOR_PYTHON is not set',
  }, async () => {
    const decoder = await smallDecoder(layout, options)
    const folder = mkdtempSync(join(home, 'hf-'))
    save(folder, decoder)
    writeFileSync(
      join(folder, 'whole.onnx'),
      writeModel(decoderGraph(decoder.config, decoder.weights, { lastOnly: false })),
    )
    const answers = run(
      `
import json, sys, numpy, torch, onnxruntime
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, prompts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
assert not info['missing_keys'] and not info['unexpected_keys'], info
session = onnxruntime.InferenceSession(folder + '/whole.onnx')
out = []
for prompt in prompts:
    ids = tokenizer(prompt, return_tensors='pt', add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(ids).logits.numpy()
        written = model.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=0)[0, ids.shape[1]:].tolist()
    n = ids.shape[1]
    feeds = {'input_ids': ids.numpy(), 'attention_mask': numpy.ones((1, n), 'int64'), 'position_ids': numpy.arange(n)[None]}
    for entry in session.get_inputs():
        if entry.name.startswith('past'):
            feeds[entry.name] = numpy.zeros((1, entry.shape[1], 0, entry.shape[3]), 'float32')
    ours = session.run(['logits'], feeds)[0]
    out.append({'ids': ids[0].tolist(), 'difference': float(abs(ours - logits).max()), 'written': written})
print(json.dumps(out))`,
      folder,
      JSON.stringify(prompts),
    ) as { ids: number[]; difference: number; written: number[] }[]
    const codec = TextCodec.load(decoder.tokenizerJson)
    for (const [i, { ids, difference, written }] of answers.entries()) {
      assert.deepEqual(await codec.encode(prompts[i]), ids)
      assert.ok(difference < 1e-4, `scores differ by ${difference}`)
      const end = written.indexOf(decoder.generation.end[0])
      assert.deepEqual((await write(decoder, prompts[i], 20)).tokens, end < 0 ? written : written.slice(0, end))
    }
  })
}

test('a folder that transformers saved is read: GPT-2 and Llama', {
  skip: !python && 'ATHANOR_PYTHON is not set',
}, async () => {
  for (const layout of ['gpt', 'llama'] as const) {
    const folder = mkdtempSync(join(home, 'saved-'))
    const decoder = await smallDecoder(layout)
    save(folder, decoder)
    const { files } = run(
      `
import base64, json, os, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, to = sys.argv[1], sys.argv[1] + '/again'
AutoModelForCausalLM.from_pretrained(folder).save_pretrained(to)
AutoTokenizer.from_pretrained(folder).save_pretrained(to)
print(json.dumps({'files': {name: base64.b64encode(open(to + '/' + name, 'rb').read()).decode() for name in os.listdir(to)}}))`,
      folder,
    ) as { files: Record<string, string> }
    const again = readDecoderFolder((name) =>
      Object.hasOwn(files, name) ? Buffer.from(files[name], 'base64') : undefined,
    )
    assert.deepEqual(again.config, decoder.config)
    for (const [path, { data }] of Object.entries(decoder.weights)) assert.deepEqual(again.weights[path].data, data)
    for (const prompt of prompts) assert.deepEqual(await write(again, prompt, 12), await write(decoder, prompt, 12))
  }
})

test('gguf’s own reader decodes the blocks to the same numbers', {
  skip: !python && 'ATHANOR_PYTHON is not set',
}, async (t) => {
  const decoder = await smallDecoder('llama')
  for (const type of ['f32', 'f16', 'q8_0', 'q4_0'] as const) {
    const file = join(home, `${type}.gguf`)
    writeFileSync(file, writeLlamaGguf(decoder, 'small', type))
    let read: Record<string, number[]>
    try {
      read = run(
        `
import json, sys
from gguf import GGUFReader, dequantize
print(json.dumps({t.name: dequantize(t.data, t.tensor_type).reshape(-1).tolist() for t in GGUFReader(sys.argv[1]).tensors}))`,
        file,
      )
    } catch {
      return t.skip('the Python has no gguf')
    }
    const back = readLlamaGguf(writeLlamaGguf(decoder, 'small', type))
    for (const [path, name] of [
      ['embedding/weight', 'token_embd.weight'],
      ['layer.1/feedForward/down/weight', 'blk.1.ffn_down.weight'],
      ['layer.0/attention/scale', 'blk.0.attn_norm.weight'],
    ])
      assert.deepEqual(back.weights[path].data, Float32Array.from(read[name]), `${type} ${path}`)
  }
})

test('llama.cpp loads GGUF: same tokens and greedy continuations', {
  skip: !llama && 'ATHANOR_LLAMA is not set',
}, async () => {
  const require = createRequire(join(llama!, 'package.json'))
  const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve(PEER)).href)
  const engine = await getLlama({ gpu: false, build: 'never', logLevel: LlamaLogLevel.error })
  for (const [options, types] of [
    [{ tied: false }, ['f32', 'f16', 'q8_0', 'q4_0']],
    [{ tied: true, keyHeads: 4 }, ['f32', 'q8_0']],
    [{ characters: true }, ['f32', 'f16']],
    [{ keyHeads: 1, sizes: { heads: 2, headSize: 16 } }, ['f32', 'q8_0']],
  ] as const) {
    const decoder = await smallDecoder('llama', options)
    const codec = TextCodec.load(decoder.tokenizerJson)
    for (const type of types) {
      const file = join(home, 'model.gguf')
      const bytes = writeLlamaGguf(decoder, 'small', type)
      writeFileSync(file, bytes)
      const model = await engine.loadModel({ modelPath: file, gpuLayers: 0 })
      const context = await model.createContext({ contextSize: 64, threads: 1 })
      // what the file holds, run by us
      const kept = 'characters' in options ? decoder : readLlamaGguf(bytes)
      for (const prompt of prompts) {
        const ids = await codec.encode(prompt)
        assert.deepEqual([...model.tokenize(prompt)], ids, `tokens of ${prompt}`)
        const sequence = context.getSequence()
        const count = 16
        const theirs: number[] = []
        for await (const token of sequence.evaluate(ids, { temperature: 0 })) {
          theirs.push(token)
          if (theirs.length === count) break
        }
        const { tokens, tops } = await write(kept, prompt, count)
        const what = `${JSON.stringify(options)} ${type}: ${prompt}`
        const apart = tokens.findIndex((token, i) => token !== theirs[i])
        if (apart < 0 || type === 'f32' || type === 'f16') assert.deepEqual(tokens, theirs, what)
        else {
          // llama.cpp also rounds what it multiplies quantized matrices with: made-up weights have near ties, no more may differ
          const [best, ...others] = tops[apart]
          const other = others.find(({ token }) => token === theirs[apart])
          assert.ok(other && best.logprob - other.logprob < 0.1, `${what}, token ${apart}`)
        }
        await sequence.dispose()
      }
      await context.dispose()
      await model.dispose()
    }
  }
  // sizes told layer by layer: llama.cpp loads those that are alike, and none that differ, which are refused here
  const decoder = await smallDecoder('llama')
  const bytes = writeLlamaGguf(decoder, 'small', 'f32')
  const file = join(home, 'layers.gguf')
  writeFileSync(file, withLayerSizes(bytes, layerSizes.alike))
  const model = await engine.loadModel({ modelPath: file, gpuLayers: 0 })
  const context = await model.createContext({ contextSize: 64, threads: 1 })
  for (const prompt of prompts) {
    const sequence = context.getSequence()
    const theirs: number[] = []
    for await (const token of sequence.evaluate(model.tokenize(prompt), { temperature: 0 }))
      if (theirs.push(token) === 16) break
    assert.deepEqual((await write(readLlamaGguf(readFileSync(file)), prompt, 16)).tokens, theirs)
    await sequence.dispose()
  }
  await context.dispose()
  await model.dispose()
  for (const [what, rows] of [
    ['inner', 64],
    ['heads', 32],
  ] as const) {
    writeFileSync(file, withLayerSizes(bytes, layerSizes[what], narrowed(what, rows)))
    await assert.rejects(engine.loadModel({ modelPath: file, gpuLayers: 0 }), /Failed to load model/)
  }
  await engine.dispose()
})
