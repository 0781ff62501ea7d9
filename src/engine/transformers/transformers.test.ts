import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { InferenceClient } from '@huggingface/inference'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import sharp from 'sharp'
import { Athanor } from '../../../client/src/index.ts'
import { answering, detecting, FRAME, hearing, matching, segmenting, translating } from '../../testing/hub-models.ts'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { readWav } from './audio.ts'

const skip = existsSync(join(process.env.ATHANOR_ENGINES ?? '', 'transformers/node_modules/@huggingface/transformers'))
  ? false
  : 'transformers.js is not installed: athanor engines install transformers, and set ATHANOR_ENGINES to its folder'

const context = 'the quick brown fox jumps over the lazy dog'
const format = 'transformers'
let server: TestServer
let athanor: Athanor
before(async () => {
  server = await startTestServer()
  athanor = new Athanor({ url: server.url, retries: 0 })
  await athanor.models.importFiles('answers', answering(context, 'fox'), { format })
  await athanor.models.importFiles('sees', detecting(), { format })
  const words = translating({ cat: 'chat', dog: 'chien' })
  await athanor.models.importFiles('parts', segmenting(), { format })
  await athanor.models.importFiles('fits', matching(), { format, task: 'zero-shot-image-classification' })
  await athanor.models.importFiles('hears', hearing(), { format })
  await athanor.models.importFiles('french', words, { format, task: 'translation' })
})
after(() => server.close())

const image = async (shade: number) =>
  (
    await sharp({ create: { width: 40, height: 20, channels: 3, background: { r: shade, g: shade, b: shade } } })
      .png()
      .toBuffer()
  ).toString('base64')

/** A WAV file of one channel. */
function wav(rate: number, samples: readonly number[], bits = 16): Buffer {
  const file = Buffer.alloc(44 + samples.length * 2)
  file.write('RIFF', 0)
  file.write('WAVEfmt ', 8)
  file.writeUInt32LE(16, 16)
  file.writeUInt16LE(1, 20)
  file.writeUInt16LE(1, 22)
  file.writeUInt32LE(rate, 24)
  file.writeUInt16LE(bits, 34)
  file.write('data', 36)
  file.writeUInt32LE(samples.length * 2, 40)
  samples.forEach((sample, i) => {
    file.writeInt16LE(sample, 44 + 2 * i)
  })
  return file
}

test('folders become models of their task; what is no such folder, task or input is refused in words', async () => {
  const found = await athanor.models.show('answers')
  assert.deepEqual([found.manifest.task, found.manifest.engine], ['question-answering', 'transformers'])
  assert.ok(found.files.some(({ name }) => name === 'onnx/model.onnx'))
  const [snippet] = await athanor.models.snippets('answers')
  assert.match(snippet.code, /\/api\/models\/answers\/run.*question/)
  const folder = answering(context, 'fox')
  const refused = async (files: Record<string, Uint8Array<ArrayBuffer>>, task?: string) =>
    assert.rejects(
      athanor.models.importFiles('bad', files, { format, ...(task !== undefined && { task }) }),
      (error) => {
        assert.match(`${(error as { code: string }).code}`, /^(FORMAT_INVALID|MODEL_INVALID|UNSUPPORTED|BAD_REQUEST)$/)
        return true
      },
    )
  await refused({ 'config.json': folder['config.json'] })
  await refused({ ...folder, 'onnx/model.onnx': Buffer.from('no graph') })
  await refused({ ...folder, 'config.json': Buffer.from('{"architectures":["GPT2LMHeadModel"]}') })
  await refused(folder, 'mind-reading')
  const asks: [string, unknown, unknown, RegExp][] = [
    ['answers', 'what?', {}, /inputs: expected question and context/],
    ['answers', { question: 'what?' }, {}, /inputs\.context: expected a string/],
    ['answers', { question: 'a', context: 'b', more: 1 }, {}, /no such input/],
    ['answers', { question: 'a', context: 'b' }, { top_k: 1.5 }, /parameters\.top_k/],
    ['answers', { question: 'a', context: 'b' }, { path: '/etc' }, /no such parameter/],
    ['sees', 'http://127.0.0.1/x.png', {}, /not fetched/],
    ['sees', '%', {}, /base64/],
    ['french', 'cat', { num_beams: 1000 }, /num_beams/],
  ]
  for (const [model, inputs, parameters, message] of asks)
    await assert.rejects(athanor.run(model, inputs, parameters as object), {
      code: 'BAD_REQUEST',
      message,
    })
  await assert.rejects(athanor.predict('answers', 'x'), { code: 'BAD_REQUEST', message: /its run route/ })
})

test('without the library, asking says what to install', async () => {
  const bare = await startTestServer({ engines: join(server.app.config.home, 'nothing') })
  try {
    const other = new Athanor({ url: bare.url, retries: 0 })
    await other.models.importFiles('sees', detecting(), { format })
    await assert.rejects(other.run('sees', await image(255)), {
      code: 'ENGINE_MISSING',
      hint: /engines install transformers/,
    })
  } finally {
    await bare.close()
  }
})

test('question answering, detection and translation by the native door', { skip }, async () => {
  const said = await athanor.run<{ answer: string; score: number }>('answers', { question: 'who jumps?', context })
  assert.deepEqual({ ...said, score: 0 }, { answer: 'fox', score: 0, start: 16, end: 19 })
  assert.ok(said.score > 0.9)
  for (const [shade, label] of [
    [255, 'cat'],
    [0, 'dog'],
  ] as const) {
    const [thing] = await athanor.run<{ label: string; box: object }[]>('sees', await image(shade), { threshold: 0.9 })
    assert.deepEqual([thing.label, thing.box], [label, { xmin: 10, ymin: 5, xmax: 30, ymax: 15 }])
  }
  for (const [word, other] of [
    ['cat', 'chat'],
    ['dog', 'chien'],
  ])
    assert.deepEqual(await athanor.run('french', word), [{ translation_text: other }])
  await assert.rejects(athanor.run('sees', Buffer.from('no image').toString('base64')), { code: 'IMAGE_INVALID' })
})

test('segmentation, labels for an image and speech recognition', { skip }, async () => {
  const halves = await sharp({ create: { width: 32, height: 32, channels: 3, background: 'white' } })
    .composite([
      { input: { create: { width: 32, height: 16, channels: 3, background: 'black' } }, gravity: 'south' as const },
    ])
    .png()
    .toBuffer()
  const parts = await athanor.run<{ label: string; mask: string }[]>('parts', halves.toString('base64'))
  assert.deepEqual(parts.map(({ label }) => label).sort(), ['ground', 'sky'])
  for (const { label, mask } of parts) {
    const { data, info } = await sharp(Buffer.from(mask, 'base64')).raw().toBuffer({ resolveWithObject: true })
    assert.deepEqual([info.width, info.height], [32, 32])
    const marked = (x: number, y: number) => data[(y * 32 + x) * info.channels]
    assert.deepEqual([marked(5, 3), marked(30, 28)], label === 'sky' ? [255, 0] : [0, 255])
  }
  for (const [shade, label] of [
    [255, 'bright'],
    [0, 'dark'],
  ] as const) {
    const labels = { candidate_labels: ['dark', 'bright'] }
    const [first, second] = await athanor.run<{ label: string; score: number }[]>('fits', await image(shade), labels)
    assert.equal(first.label, label)
    assert.ok(Math.abs(first.score - 1 / (1 + Math.exp(-16))) < 1e-5)
    assert.ok(Math.abs(first.score + second.score - 1) < 1e-5)
  }
  await assert.rejects(athanor.run('fits', await image(0)), { code: 'BAD_REQUEST', message: /candidate_labels/ })
  const heard = (levels: number[]) => {
    const samples = levels.flatMap((level) => Array<number>(FRAME).fill(16_000 * level))
    return athanor.run('hears', wav(16_000, samples).toString('base64'))
  }
  assert.deepEqual(await heard([0, 1, 1, 0, -1, -1, 0]), { text: 'hi' })
  assert.deepEqual(await heard([1, 0, 1, 1, -1, 0, 0, -1]), { text: 'hhii' }, 'letters that are doubled')
})

test('the same by Hugging Face’s client, and as tools', { skip }, async () => {
  const at = (model: string) => new InferenceClient('hf_none').endpoint(`${server.url}/hf/models/${model}`)
  const answer = await at('answers').questionAnswering({ inputs: { question: 'who jumps?', context } })
  assert.equal(answer.answer, 'fox')
  const [thing] = await at('sees').objectDetection({ inputs: new Blob([Buffer.from(await image(255), 'base64')]) })
  assert.equal(thing.label, 'cat')
  const translated = await at('french').translation({ inputs: 'dog' })
  assert.equal((translated as { translation_text: string }).translation_text, 'chien')

  const client = new Client({ name: 'test', version: '1' })
  await client.connect(new StreamableHTTPClientTransport(new URL(`${server.url}/mcp`)) as never)
  try {
    const { tools } = await client.listTools()
    const tool = tools.find(({ name }) => name === 'answers')!
    assert.deepEqual(tool.inputSchema.required, ['question', 'context'])
    const result = await client.callTool({ name: 'answers', arguments: { question: 'who?', context } })
    assert.equal((result.structuredContent as { result: { answer: string } }).result.answer, 'fox')
    const wrong = await client.callTool({ name: 'answers', arguments: { question: 'who?' } })
    assert.ok(wrong.isError)
  } finally {
    await client.close()
  }
})

test('recordings: WAV files at any rate become 16,000 samples a second; others are refused', () => {
  assert.deepEqual([...readWav(wav(16_000, [0, 16_384, -32_768]))], [0, 0.5, -1])
  assert.deepEqual([...readWav(wav(8_000, [0, 16_384]))], [0, 0.25, 0.5, 0.5])
  for (const file of [Buffer.from('ID3'), wav(16_000, []), wav(16_000, [1], 12), wav(10, [1])])
    assert.throws(() => readWav(file), { code: 'BAD_REQUEST' })
})
