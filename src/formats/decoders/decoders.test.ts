import assert from 'node:assert/strict'
import { test } from 'node:test'
import { trainingGraph } from '../../autograd/training.ts'
import { random } from '../../base/random.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { TextCodec } from '../../data/codec.ts'
import { readModel } from '../../graph/codec.ts'
import { decoderLoss } from '../../nn/decoder.ts'
import { layerSizes, narrowed, smallDecoder, withLayerSizes } from '../../testing/decoders.ts'
import { exportBundle } from '../export.ts'
import { blockTypes } from '../gguf/blocks.ts'
import { readGguf } from '../gguf/file.ts'
import { readLlamaGguf, writeLlamaGguf } from '../gguf/llama.ts'
import { importBundle } from '../import.ts'
import { writeSafetensors } from '../safetensors.ts'
import { sourceOf } from '../source.ts'
import { bundleDecoder, decoderFrom, decoderShapes, type StoredDecoder } from './decoder.ts'
import { readDecoderFolder, writeDecoderFolder } from './huggingface.ts'

const bytesOf = (content: Uint8Array | string) => (typeof content === 'string' ? Buffer.from(content) : content)
const folderOf = (files: Record<string, Uint8Array | string>) => (name: string) =>
  Object.hasOwn(files, name) ? bytesOf(files[name]) : undefined

function same(actual: StoredDecoder, expected: StoredDecoder, tolerance = 0) {
  assert.deepEqual(actual.config, expected.config)
  assert.deepEqual(Object.keys(actual.weights), Object.keys(decoderShapes(expected.config)))
  for (const [path, { dims, data }] of Object.entries(expected.weights)) {
    assert.deepEqual(actual.weights[path].dims, dims, path)
    const most = Math.max(...data.map(Math.abs)) * tolerance
    actual.weights[path].data.forEach((value, i) => {
      assert.ok(Math.abs(value - data[i]) <= most, `${path}[${i}]: ${value} and ${data[i]}`)
    })
  }
  assert.deepEqual(actual.generation, expected.generation)
}

const layouts = [
  ['gpt', {}],
  ['llama', { tied: false }],
  ['llama', { tied: true, keyHeads: 4 }],
  ['llama', { keyHeads: 1, sizes: { heads: 2, headSize: 16 } }],
] as const

for (const [layout, options] of layouts) {
  test(`${layout} ${JSON.stringify(options)}: a bundle and a Hugging Face folder give back what was written`, async () => {
    const decoder = await smallDecoder(layout, options)
    const graph = trainingGraph((network) => decoderLoss(network, decoder.config))
    assert.deepEqual(
      Object.fromEntries(graph.parameters.map(({ name, dims }) => [name, dims])),
      decoderShapes(decoder.config),
    )
    same(readDecoderFolder(folderOf(writeDecoderFolder(decoder))), decoder)
    const { manifest, files } = bundleDecoder(decoder)
    same(decoderFrom(manifest as unknown as Manifest, readModel(files['model.onnx']), files['tokenizer.json']), decoder)
  })
}

test('llama: GGUF gives back what was written, within what each type keeps', async () => {
  const options = [{ tied: false }, { tied: true, keyHeads: 4 }, { keyHeads: 1, sizes: { heads: 2, headSize: 16 } }]
  for (const option of options) {
    const decoder = await smallDecoder('llama', option)
    for (const [type, tolerance] of [
      ['f32', 0],
      ['f16', 2 ** -11],
      ['q8_0', 0.5 / 127 + 2 ** -11],
      ['q4_0', 1.02 / 8],
    ] as const) {
      const back = readLlamaGguf(writeLlamaGguf(decoder, 'small', type))
      same({ ...back, config: { ...back.config, epsilon: 1e-5 } }, decoder, tolerance)
      assert.ok(Math.abs(back.config.epsilon - 1e-5) < 1e-11)
      const text = 'the quick fox 今天 <|endoftext|>'
      assert.deepEqual(
        await TextCodec.load(back.tokenizerJson).encode(text),
        await TextCodec.load(decoder.tokenizerJson).encode(text),
      )
    }
  }
})

test('the table of formats: a decoder goes out and comes in, told apart by its content', async () => {
  const decoder = await smallDecoder('llama')
  const { manifest, files } = bundleDecoder(decoder)
  const whole = { ...manifest, labels: [] } as unknown as Manifest
  const stored = { 'model.onnx': files['model.onnx'], 'tokenizer.json': Buffer.from(files['tokenizer.json']) }
  for (const format of ['huggingface', 'gguf', 'gguf-q8_0']) {
    const back = await importBundle(sourceOf(await exportBundle(whole, stored, format, {})), {})
    assert.deepEqual([back.manifest.task, back.manifest.family], ['text-generation', 'llama'])
    const { config } = decoderFrom(back.manifest, readModel(back.files['model.onnx']), 'x')
    assert.equal(config.width, decoder.config.width)
  }
})

test('GGUF that tells sizes layer by layer: read where layers are alike, refused by name where they differ', async () => {
  const decoder = await smallDecoder('llama')
  const bytes = writeLlamaGguf(decoder, 'small', 'f32')
  const alike = withLayerSizes(bytes, layerSizes.alike)
  same(readLlamaGguf(alike), readLlamaGguf(bytes))
  assert.equal((await importBundle(sourceOf({ 'model.gguf': alike }), {})).manifest.family, 'llama')
  for (const [what, rows] of [
    ['inner', 64],
    ['heads', 32],
  ] as const) {
    const file = sourceOf({ 'model.gguf': withLayerSizes(bytes, layerSizes[what], narrowed(what, rows)) })
    for (const format of [undefined, 'gguf', 'gguf-llama'])
      await assert.rejects(importBundle(file, format === undefined ? {} : { format }), {
        code: 'UNSUPPORTED',
        message: new RegExp(`layers differ \\(llama\\.${Object.keys(layerSizes[what])}\\)`),
      })
  }
  const short = withLayerSizes(bytes, { feed_forward_length: [96] })
  assert.throws(() => readLlamaGguf(short), { code: 'FORMAT_INVALID' })
  const strange = withLayerSizes(bytes, { context_length: [64, 64] })
  assert.throws(() => readLlamaGguf(strange), { code: 'FORMAT_INVALID' })
})

test('blocks keep what fits exactly', () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? (i - 16) * 8 : 0))
  values[0] = -127
  assert.deepEqual(
    blockTypes.q8_0.read(blockTypes.q8_0.write(values)).subarray(0, 32),
    values.subarray(0, 32).map(Math.round),
  )
  const small = Float32Array.from({ length: 32 }, (_, i) => ((i % 16) - 8) / 4)
  assert.deepEqual(blockTypes.q4_0.read(blockTypes.q4_0.write(small)), small)
})

test('what cannot be expressed is refused by name', async () => {
  const code = (expected: string, part: string) => (error: Error & { code?: string; hint?: string }) =>
    error.code === expected && `${error.message} ${error.hint}`.includes(part)
  const gpt = await smallDecoder('gpt')
  assert.throws(() => writeLlamaGguf(gpt, 'x', 'f16'), code('UNSUPPORTED', 'GPT-2'))
  const files = writeDecoderFolder(await smallDecoder('llama'))
  const given = JSON.parse(String(files['config.json'])) as object
  const changed =
    (config: object, others: Record<string, Uint8Array | string | undefined> = {}) =>
    () =>
      readDecoderFolder(
        folderOf(
          Object.fromEntries(
            Object.entries({ ...files, 'config.json': JSON.stringify({ ...given, ...config }), ...others }).filter(
              (entry): entry is [string, string] => entry[1] !== undefined,
            ),
          ),
        ),
      )
  assert.throws(changed({ rope_scaling: { rope_type: 'llama3' } }), code('UNSUPPORTED', 'llama3'))
  assert.throws(changed({ attention_bias: true }), code('UNSUPPORTED', 'biases'))
  assert.throws(changed({ model_type: 'mamba' }), code('UNSUPPORTED', 'mamba'))
  assert.throws(changed({ hidden_size: -1 }), code('FORMAT_INVALID', 'hidden_size'))
  assert.throws(changed({ num_hidden_layers: 3 }), code('FORMAT_INVALID', 'layers.2'))
  assert.throws(changed({ vocab_size: 10 }), code('FORMAT_INVALID', 'vocabulary'))
  assert.throws(changed({}, { 'tokenizer.json': undefined }), code('FORMAT_INVALID', 'tokenizer.json'))
  assert.throws(changed({}, { 'model.safetensors': undefined }), code('FORMAT_INVALID', 'model.safetensors'))
  assert.throws(changed({}, { 'model.safetensors': writeSafetensors([]) }), code('FORMAT_INVALID', 'missing'))
  const index = JSON.stringify({ weight_map: { x: '../../etc/passwd' } })
  const shards = { 'model.safetensors': undefined, 'model.safetensors.index.json': index }
  assert.throws(changed({}, shards), code('FORMAT_INVALID', 'shard'))
})

test('a GGUF file with anything changed or cut is read or refused, never more', async () => {
  const bytes = Buffer.from(writeLlamaGguf(await smallDecoder('llama', { width: 32 }), 'small', 'q8_0'))
  const next = random(7)
  const header = bytes.indexOf('token_embd.weight') + 2000
  for (let i = 0; i < 1500; i++) {
    const copy = Buffer.from(bytes.subarray(0, next() < 0.3 ? Math.floor(next() * bytes.length) : bytes.length))
    for (let k = 0; k < 1 + next() * 3; k++)
      copy[Math.floor(next() * Math.min(header, copy.length))] = Math.floor(next() * 256)
    try {
      readLlamaGguf(copy)
    } catch (error) {
      const { code } = error as { code?: string }
      assert.ok(
        ['FORMAT_INVALID', 'UNSUPPORTED', 'BUNDLE_INVALID'].includes(String(code)),
        String((error as Error).stack),
      )
    }
  }
  const claims = Buffer.alloc(64)
  claims.write('GGUF')
  claims.writeUInt32LE(3, 4)
  claims.writeBigUInt64LE(2n ** 60n, 8)
  assert.throws(() => readGguf(claims), { code: 'FORMAT_INVALID' })
})
