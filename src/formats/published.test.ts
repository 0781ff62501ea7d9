import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AthanorError, type ErrorCode } from '../base/errors.ts'
import { publishedFiles } from './published.ts'

const encoder = [
  '.gitattributes',
  'README.md',
  'config.json',
  'tokenizer.json',
  'vocab.txt',
  '1_Pooling/config.json',
  'pytorch_model.bin',
  'tf_model.h5',
]
const parts = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors', 'model.safetensors.index.json']
const refused = (code: ErrorCode, message: RegExp) => (error: unknown) =>
  error instanceof AthanorError && error.code === code && message.test(error.message)

test('only what is read of a repository is fetched', () => {
  const cases: [string[], { path?: string; format?: string }, string[]][] = [
    [
      [...encoder, 'model.safetensors', 'onnx/model.onnx'],
      {},
      ['config.json', 'tokenizer.json', '1_Pooling/config.json', 'model.safetensors'],
    ],
    [
      [...encoder, 'onnx/model.onnx', 'onnx/model_fp16.onnx'],
      {},
      ['config.json', 'tokenizer.json', '1_Pooling/config.json', 'onnx/model.onnx'],
    ],
    [['config.json', 'tokenizer.json', ...parts], {}, ['config.json', 'tokenizer.json', ...parts]],
    [
      [...encoder, 'onnx/model.onnx', 'onnx/model_fp16.onnx'],
      { format: 'transformers' },
      ['config.json', 'tokenizer.json', 'vocab.txt', 'onnx/model.onnx'],
    ],
    [['README.md', 'a-q4_0.gguf'], {}, ['a-q4_0.gguf']],
    [['a-q4_0.gguf', 'a-q8_0.gguf'], { path: 'a-q8_0.gguf' }, ['a-q8_0.gguf']],
    [['net.onnx', 'net.onnx.data', 'README.md'], {}, ['net.onnx', 'net.onnx.data']],
    [['saved_model.pb', 'variables/variables.index', 'x.txt'], {}, ['saved_model.pb', 'variables/variables.index']],
    [['model.json', 'group1-shard1of1.bin', 'x.md'], {}, ['model.json', 'group1-shard1of1.bin']],
    [['small/net.keras', 'small/a.pt', 'large/net.keras'], { path: 'small' }, ['small/net.keras']],
  ]
  for (const [all, given, wanted] of cases) assert.deepEqual(publishedFiles(all, given), wanted)
})

test('pickles are refused by name before anything is fetched; so is what is not clear', () => {
  assert.throws(() => publishedFiles(encoder, {}), refused('UNSUPPORTED', /pytorch_model\.bin.*pickle/))
  assert.throws(() => publishedFiles(['a.pt'], { path: 'a.pt' }), refused('UNSUPPORTED', /a\.pt.*pickle/))
  assert.throws(() => publishedFiles(['a.gguf', 'b.gguf'], {}), refused('OPTION_INVALID', /a\.gguf, b\.gguf/))
  assert.throws(() => publishedFiles(['a.gguf'], { path: 'c.gguf' }), refused('OPTION_INVALID', /c\.gguf/))
  assert.throws(() => publishedFiles(['README.md'], {}), refused('UNSUPPORTED', /without a model/))
  assert.throws(
    () => publishedFiles(['config.json', 'model.safetensors'], {}),
    refused('FORMAT_INVALID', /tokenizer\.json/),
  )
})
