// Encoders against transformers and PyTorch's own exporter. Needs Python with torch and transformers: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { PublishedTokenizer } from '../../../src/data/published.ts'
import { type Folder, folderFiles, type PublishedEncoder, readFolder } from '../../../src/formats/huggingface/folder.ts'
import { writeFolder } from '../../../src/formats/huggingface/write.ts'
import { writeModel } from '../../../src/graph/codec.ts'
import type { EncoderConfig } from '../../../src/nn/bert.ts'
import { type EncoderHead, encoderModel } from '../../../src/nn/encoders.ts'
import { tinyEncoder } from '../../../src/testing/tiny-encoder.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import torch, transformers'], { stdio: 'ignore' }).status === 0
const skip = there ? false : `${python} has no torch and transformers; set ATHANOR_PYTHON`
const root = mkdtempSync(join(tmpdir(), 'athanor-encoders-'))
after(() => rmSync(root, { recursive: true, force: true }))
const ask = (...args: string[]) =>
  JSON.parse(
    execFileSync(python, [fileURLToPath(new URL('encoders.py', import.meta.url)), ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      maxBuffer: 1 << 28,
    }),
  )

const texts = ['the quick brown fox jumps over the lazy dog', '今天天气很好', 'the fox', 'lazy quick 今天 dog .']
const heads: [EncoderHead, string[]][] = [
  [{ task: 'feature-extraction', pooling: 'mean', unit: true }, []],
  [{ task: 'text-classification', classes: 3 }, ['bad', 'fair', 'good']],
  [{ task: 'token-classification', classes: 3 }, ['O', 'B-X', 'I-X']],
  [{ task: 'fill-mask' }, []],
]
const layouts: EncoderConfig['layout'][] = ['bert', 'roberta', 'distilbert']

function save(encoder: PublishedEncoder, name: string): string {
  const folder = join(root, name)
  for (const [file, content] of writeFolder(encoder)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    writeFileSync(join(folder, file), content)
  }
  return folder
}
const open = (folder: string): Folder =>
  new Map(
    folderFiles
      .filter((name) => existsSync(join(folder, name)))
      .map((name) => [name, async () => readFileSync(join(folder, name))]),
  )

/** What our served graph says of each text, alone. */
async function ours({ config, head, weights, tokenizerJson, maxLength }: PublishedEncoder): Promise<number[][]> {
  const session = await ort.InferenceSession.create(writeModel(encoderModel(config, head, weights)), {
    logSeverityLevel: 3,
  })
  const answers: number[][] = []
  for (const ids of await new PublishedTokenizer(tokenizerJson, { maxLength }).encode(texts)) {
    const int64 = (dims: number[], values: Iterable<number>) =>
      new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims)
    const feeds: Record<string, ort.Tensor> = { ids: int64([1, ids.length], ids), lengths: int64([1], [ids.length]) }
    if (head.task === 'fill-mask') feeds.positions = int64([1, ids.length], ids.keys())
    const results = await session.run(feeds)
    answers.push(Array.from((results.embeddings ?? results.logits).data as Float32Array))
  }
  return answers
}

function near(actual: number[][], expected: number[][], what: string) {
  actual.forEach((row, i) => {
    assert.equal(row.length, expected[i].length, what)
    row.forEach((value, j) => {
      assert.ok(
        Math.abs(value - expected[i][j]) <= 1e-4,
        `${what}, text ${i}: ${value}, transformers ${expected[i][j]}`,
      )
    })
  })
}

for (const layout of layouts) {
  for (const [head, labels] of heads) {
    test(`${layout}, ${head.task}: transformers loads the folder and says the same`, { skip }, async () => {
      const encoder = tinyEncoder(texts, head, { layout, labels })
      const folder = save(encoder, `${layout}-${head.task}`)
      const { outputs, labels: named, missing } = ask('run', folder, head.task, JSON.stringify(texts))
      assert.deepEqual(missing, [], 'no weight is left to chance')
      if (labels.length > 0) assert.deepEqual(named, labels)
      near(await ours(encoder), outputs, head.task)
    })

    test(`${layout}, ${head.task}: PyTorch’s ONNX export of it is read back`, { skip }, async () => {
      const encoder = tinyEncoder(texts, head, { layout, labels })
      const folder = save(encoder, `${layout}-${head.task}-onnx`)
      rmSync(join(folder, 'onnx/model.onnx'))
      ask('export', folder, head.task)
      rmSync(join(folder, 'model.safetensors'))
      const { weights } = await readFolder(open(folder))
      for (const [name, { data }] of Object.entries(encoder.weights)) assert.deepEqual(weights[name].data, data, name)
    })
  }
}

test('an encoder whose heads and neurons were pruned: transformers says the same', { skip }, async () => {
  const [head, labels] = heads[1]
  for (const layout of layouts) {
    const encoder = tinyEncoder(texts, head, { layout, labels, sizes: { heads: 3, headSize: 8, inner: 40 } })
    const { outputs, missing } = ask('run', save(encoder, `${layout}-pruned`), head.task, JSON.stringify(texts))
    assert.deepEqual(missing, [])
    near(await ours(encoder), outputs, layout)
  }
})

const minilm = process.env.ATHANOR_MINILM
const without = skip || (minilm ? false : 'set ATHANOR_MINILM to the folder of all-MiniLM-L6-v2')

test('all-MiniLM-L6-v2 embeds as transformers does', { skip: without }, async () => {
  const encoder = await readFolder(open(minilm!))
  const { outputs } = ask('run', minilm!, 'feature-extraction', JSON.stringify(texts))
  const mine = await ours(encoder)
  near(mine, outputs, 'all-MiniLM-L6-v2')
  const difference = Math.max(...mine.flatMap((row, i) => row.map((value, j) => Math.abs(value - outputs[i][j]))))
  console.log(`# largest difference: ${difference}`)
})
