import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AthanorError, type ErrorCode } from '../../base/errors.ts'
import { toHalf } from '../../graph/half.ts'
import type { Tensor } from '../../graph/tensor.ts'
import type { EncoderConfig } from '../../nn/bert.ts'
import type { EncoderHead } from '../../nn/encoders.ts'
import { plainManifest } from '../../testing/manifest.ts'
import { tinyEncoder } from '../../testing/tiny-encoder.ts'
import { readSafetensors, writeSafetensors } from '../safetensors.ts'
import { bundleEncoder, encoderFrom } from './bundle.ts'
import { type Folder, folderFiles, readFolder } from './folder.ts'
import { writeFolder } from './write.ts'

const texts = ['the quick brown fox jumps over the lazy dog', '今天天气很好']
const labels = ['no', 'yes']
const heads: [EncoderHead, string[]][] = [
  [{ task: 'feature-extraction', pooling: 'mean', unit: true }, []],
  [{ task: 'feature-extraction', pooling: 'cls', unit: false }, []],
  [{ task: 'text-classification', classes: 2 }, labels],
  [{ task: 'token-classification', classes: 2 }, labels],
  [{ task: 'fill-mask' }, []],
]
const layouts: EncoderConfig['layout'][] = ['bert', 'roberta', 'distilbert']

const folderOf = (files: Map<string, Uint8Array | string>): Folder =>
  new Map([...files].map(([name, content]) => [name, async () => Buffer.from(content)]))
const without = (files: Map<string, Uint8Array | string>, ...names: string[]) =>
  new Map([...files].filter(([name]) => !names.includes(name)))

for (const layout of layouts) {
  for (const [head, labels] of heads) {
    const name = `${layout} for ${head.task}${'pooling' in head ? ` by ${head.pooling}` : ''}`
    test(`${name}: written as a folder and as a bundle, it comes back the same`, async () => {
      const encoder = tinyEncoder(texts, head, { layout, labels })
      const files = writeFolder(encoder)
      const read = await readFolder(folderOf(files))
      assert.deepEqual(read.config, encoder.config)
      assert.deepEqual(read.head, encoder.head)
      assert.deepEqual(read.labels, labels)
      assert.equal(read.maxLength, 64)
      assert.deepEqual(read.weights, encoder.weights)
      // the ONNX graph alone carries all weights
      const fromGraph = await readFolder(folderOf(without(files, 'model.safetensors')))
      assert.deepEqual(fromGraph.weights, encoder.weights)

      const { manifest, files: stored } = bundleEncoder(encoder)
      const whole = { ...manifest, ...plainManifest }
      const again = encoderFrom(whole, (file) => (file in stored ? Buffer.from(stored[file]) : undefined), 'tiny')
      assert.deepEqual(
        again.weights,
        Object.fromEntries(Object.entries(encoder.weights).map(([path, one]) => [path, { dtype: 'float32', ...one }])),
      )
      assert.deepEqual({ ...again, weights: 0, companions: 0 }, { ...encoder, weights: 0, companions: 0 })
    })
  }
}

test('half floats, old names and a pooler beside the body are read', async () => {
  const encoder = tinyEncoder(texts)
  const files = writeFolder(encoder)
  const { tensors } = readSafetensors(files.get('model.safetensors') as Uint8Array)
  const old = [...tensors].map(([name, tensor]): [string, Tensor] => [
    name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'),
    { ...tensor, dtype: 'float16', data: toHalf(tensor.data as Float32Array) },
  ])
  const pooler: [string, Tensor][] = [
    ['pooler.dense.weight', { dtype: 'float32', dims: [32, 32], data: new Float32Array(1024).fill(2) }],
    ['pooler.dense.bias', { dtype: 'float32', dims: [32], data: new Float32Array(32) }],
    ['embeddings.position_ids', { dtype: 'int64', dims: [1, 2], data: BigInt64Array.of(0n, 1n) }],
  ]
  const read = await readFolder(
    folderOf(new Map(files).set('model.safetensors', writeSafetensors([...old, ...pooler]))),
  )
  const { data } = read.weights['layer.0/attention/norm/scale']
  encoder.weights['layer.0/attention/norm/scale'].data.forEach((value, i) => {
    assert.ok(Math.abs(value - data[i]) < 1e-3)
  })
  assert.equal(read.weights['pooler/weight'].data[0], 2)
  assert.ok('rest.safetensors' in bundleEncoder(read).files, 'kept for training')
})

test('what is missing, does not fit or is not read is told with the next step', async () => {
  const files = writeFolder(tinyEncoder(texts, { task: 'text-classification', classes: 2 }, { labels }))
  const config = JSON.parse(files.get('config.json') as string) as Record<string, unknown>
  const configured = (changes: Record<string, unknown>) =>
    new Map(files).set('config.json', JSON.stringify({ ...config, ...changes }))
  const pickled = (name: string, bytes: number[]) =>
    new Map(without(files, 'model.safetensors', 'onnx/model.onnx')).set(name, Uint8Array.from(bytes))
  const cases: [string, Map<string, Uint8Array | string>, ErrorCode, RegExp][] = [
    ['no configuration', without(files, 'config.json'), 'FORMAT_INVALID', /no config\.json/],
    ['no tokenizer', without(files, 'tokenizer.json'), 'FORMAT_INVALID', /save_pretrained/],
    [
      'no weights',
      without(files, 'model.safetensors', 'onnx/model.onnx'),
      'FORMAT_INVALID',
      /neither model\.safetensors/,
    ],
    ['another type', configured({ model_type: 'gpt2' }), 'UNSUPPORTED', /"gpt2".*bert, roberta, xlm-roberta/],
    [
      'another class',
      configured({ architectures: ['BertForQuestionAnswering'] }),
      'UNSUPPORTED',
      /BertForQuestionAnswering/,
    ],
    ['relative positions', configured({ position_embedding_type: 'relative_key' }), 'UNSUPPORTED', /relative_key/],
    ['an activation', configured({ hidden_act: 'silu' }), 'UNSUPPORTED', /silu/],
    ['regression', configured({ id2label: { 0: 'score' }, problem_type: 'regression' }), 'UNSUPPORTED', /one number/],
    ['several labels', configured({ problem_type: 'multi_label_classification' }), 'UNSUPPORTED', /several labels/],
    ['labels with a gap', configured({ id2label: { 0: 'a', 2: 'b' } }), 'FORMAT_INVALID', /number its labels/],
    ['heads', configured({ num_attention_heads: 5 }), 'FORMAT_INVALID', /5 heads do not divide 32/],
    ['sizes', configured({ hidden_size: 2 ** 40 }), 'FORMAT_INVALID', /config\.json\/hidden_size/],
    [
      'more layers than tensors',
      configured({ num_hidden_layers: 3 }),
      'FORMAT_INVALID',
      /bert\.encoder\.layer\.2.* is missing/,
    ],
    ['other widths', configured({ intermediate_size: 65 }), 'FORMAT_INVALID', /of shape \[64,32\], not \[65,32\]/],
    ['a vocabulary too small', configured({ vocab_size: 10 }), 'FORMAT_INVALID', /vocabulary 10/],
    ['a pickle', pickled('pytorch_model.bin', [0x80, 2, 0x8a]), 'UNSUPPORTED', /PyTorch pickle.*save_pretrained/],
    ['a zipped pickle', pickled('pytorch_model.bin', [0x50, 0x4b, 3, 4]), 'UNSUPPORTED', /PyTorch pickle/],
    ['a pickle under another name', pickled('model.safetensors', [0x50, 0x4b, 3, 4]), 'UNSUPPORTED', /PyTorch pickle/],
    [
      'no tokenizer.json',
      new Map(files).set('tokenizer.json', '{"model":{"type":"Magic","vocab":{}}}'),
      'BUNDLE_INVALID',
      /WordPiece, BPE, Unigram/,
    ],
    [
      'no tokenizer at all',
      new Map([...files].filter(([name]) => name !== 'tokenizer.json')),
      'FORMAT_INVALID',
      /no tokenizer\.json; save it/,
    ],
    ['a broken configuration', new Map(files).set('config.json', '{'), 'FORMAT_INVALID', /config\.json is not JSON/],
  ]
  for (const [what, given, code, message] of cases)
    await assert.rejects(
      readFolder(folderOf(given)),
      (error) => error instanceof AthanorError && error.code === code && message.test(`${error.message} ${error.hint}`),
      what,
    )
  const modules = writeFolder(tinyEncoder(texts))
  const pooled = new Map(modules).set('1_Pooling/config.json', '{"pooling_mode_max_tokens":true}')
  await assert.rejects(readFolder(folderOf(pooled)), /pooling_mode_max_tokens/)
  const dense = new Map(modules).set('modules.json', '[{"type":"sentence_transformers.models.Dense"}]')
  await assert.rejects(readFolder(folderOf(dense)), /Dense/)
  assert.ok([...modules.keys()].every((name) => (folderFiles as readonly string[]).includes(name)))
})
