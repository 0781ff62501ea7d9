import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import ort from '../base/onnxruntime.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { PublishedTokenizer } from '../data/published.ts'
import type { EngineRequest } from '../engine/messages.ts'
import { createRunner } from '../engine/runner.ts'
import { bundleDecoder } from '../formats/decoders/decoder.ts'
import { exportBundle } from '../formats/export.ts'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import { importBundle } from '../formats/import.ts'
import { sourceOf } from '../formats/source.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import { int64 } from '../graph/tensor.ts'
import type { EncoderConfig } from '../nn/bert.ts'
import type { EncoderHead } from '../nn/encoders.ts'
import { madeClassifier } from './classifiers.ts'
import { smallDecoder } from './decoders.ts'
import { madeGraphs } from './graphs.ts'
import { plainManifest } from './manifest.ts'
import { tinyEncoder } from './tiny-encoder.ts'

/** A version, what it is asked, and what the server says: in the form in which the programs beside its exports answer. */
export interface Asked {
  readonly name: string
  readonly manifest: Manifest
  readonly files: Record<string, Uint8Array>
  readonly asked: readonly string[]
  /** Of those, what Python cannot cut as the server does. */
  readonly beyondPython?: readonly string[]
  readonly answers: readonly unknown[]
}

type Bundle = Pick<Asked, 'manifest' | 'files'>
const bundled = (manifest: object, files: Record<string, Uint8Array | string>): Bundle => ({
  manifest: { ...plainManifest, ...manifest } as Manifest,
  files: Object.fromEntries(Object.entries(files).map(([name, content]) => [name, Buffer.from(content)])),
})

type Request = EngineRequest extends infer One ? (One extends unknown ? Omit<One, 'id' | 'at'> : never) : never

/** What the engine answers, as it does in its process. */
async function answered({ manifest, files }: Bundle, request: Request) {
  const runner = await createRunner(manifest, (name) => files[name], { threads: 1, tokenBudget: 4096 })
  for await (const answer of runner.run([{ id: 1, at: 0, ...request } as EngineRequest])) {
    if ('error' in answer) throw new Error(JSON.stringify(answer.error))
    await runner.close?.()
    return answer.output
  }
  throw new Error('no answer')
}

/** Classes by their labels. */
async function classes(bundle: Bundle, request: Request, count: number) {
  const output = await answered(bundle, request)
  if (!('probabilities' in output)) throw new Error(output.kind)
  const { labels } = bundle.manifest
  return Array.from({ length: count }, (_, row) =>
    Object.fromEntries(labels.map((label, i) => [label, output.probabilities[row * labels.length + i]])),
  )
}

const texts = ['W1 sun　w2\tｓｕｎ w9', "don't w7 constructor, w8! 3.5", '', `${'w3 '.repeat(60)}`]
const beyondPython = ['今天 rain w7']

async function classifier(
  name: Parameters<typeof madeClassifier>[0],
  tokenizer: NonNullable<Parameters<typeof madeClassifier>[2]>,
) {
  const options: Record<string, number> = name === 'lstm' ? { width: 12, hidden: 10 } : { ngrams: 1 }
  const made = await madeClassifier(name, options, tokenizer)
  const bundle = bundled(made.manifest, { 'model.onnx': writeModel(made.model), ...made.files })
  const asked = [...texts, ...beyondPython]
  const answers = await classes(bundle, { kind: 'texts', texts: asked }, asked.length)
  const cutsWords = tokenizer === 'word' || tokenizer === 'both'
  return { name: `${name} of a ${tokenizer}`, ...bundle, asked, answers, ...(cutsWords && { beyondPython }) }
}

/** An import with a Keras tokenizer. */
async function kerasTexts(): Promise<Asked> {
  const { model } = await madeClassifier('textcnn', {})
  const index = JSON.stringify({ sun: 1, rain: 2, w3: 3, constructor: 4, '<oov>': 5 })
  const config = { num_words: 5, filters: '!,.\t\n', lower: true, split: ' ', char_level: false, oov_token: '<oov>' }
  const tokenizer = JSON.stringify({ class_name: 'Tokenizer', config: { ...config, word_index: index } })
  const source = sourceOf({ 'model.onnx': writeModel(model) })
  const options = { tokenizer, length: 20, truncating: 'pre' } as const
  const { manifest, files } = await importBundle(source, options)
  const answers = await classes({ manifest, files }, { kind: 'texts', texts }, texts.length)
  return { name: 'Keras tokenizer', manifest, files, asked: texts, answers }
}

const heads: [EncoderHead, string[]][] = [
  [{ task: 'text-classification', classes: 3 }, ['bad', 'fair', 'good']],
  [{ task: 'feature-extraction', pooling: 'mean', unit: true }, []],
  [{ task: 'token-classification', classes: 3 }, ['O', 'B-X', 'I-X']],
  [{ task: 'fill-mask' }, []],
]

const long = 'the fox jumps '.repeat(30)

async function encoder(layout: EncoderConfig['layout'], [head, labels]: (typeof heads)[number]): Promise<Asked> {
  const plain = ['the quick brown fox', '今天天气很好', long]
  const asked = head.task === 'fill-mask' ? ['the [MASK] fox', `${long} [MASK]`.slice(-120)] : plain
  const published = tinyEncoder([...plain, 'lazy dog'], head, { layout, labels })
  const { manifest, files } = bundleEncoder(published)
  const bundle = bundled(manifest, files)
  const name = `${layout}-${head.task}`
  if (head.task === 'text-classification')
    return { name, ...bundle, asked, answers: await classes(bundle, { kind: 'texts', texts: asked }, asked.length) }
  if (head.task === 'token-classification')
    return { name, ...bundle, asked, answers: await tags(bundle, published.tokenizerJson, asked) }
  const output = await answered(bundle, { kind: 'texts', texts: asked })
  if (output.kind === 'fills') return { name, ...bundle, asked, answers: output.fills.map(([fills]) => fills) }
  if (output.kind !== 'vectors') throw new Error(output.kind)
  const { vectors, width } = output
  return { name, ...bundle, asked, answers: asked.map((_, i) => [...vectors.subarray(i * width, (i + 1) * width)]) }
}

/** The label of each token: the server joins them to stretches, which programs leave to their readers. */
async function tags({ manifest, files }: Bundle, tokenizerJson: string, asked: readonly string[]) {
  const session = await ort.InferenceSession.create(files['model.onnx'], { logSeverityLevel: 3 })
  const { vocab } = (JSON.parse(tokenizerJson) as { model: { vocab: Record<string, number> } }).model
  const tokens = new Map(Object.entries(vocab).map(([token, id]) => [id, token]))
  const { labels } = manifest
  const spans = await new PublishedTokenizer(tokenizerJson, { maxLength: 64 }).spans(asked)
  return Promise.all(
    spans.map(async ({ ids, words }) => {
      const { probabilities } = await session.run({
        ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
        lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(ids.length)), [1]),
      })
      return Array.from(ids).flatMap((id, t) => {
        const row = Array.from(probabilities.data.slice(t * labels.length, (t + 1) * labels.length), Number)
        const score = Math.max(...row)
        return words[t] < 0 ? [] : [{ token: tokens.get(id), label: labels[row.indexOf(score)], score }]
      })
    }),
  )
}

async function decoder(layout: 'gpt' | 'llama'): Promise<Asked> {
  const { manifest, files } = bundleDecoder(await smallDecoder(layout))
  const bundle = bundled(manifest, files)
  const asked = ['the quick', '', '今天']
  const runner = await createRunner(bundle.manifest, (name) => bundle.files[name], { threads: 1, tokenBudget: 64 })
  const plain = { temperature: 0, topP: 1, topK: 0, stop: [], repetitionPenalty: 1, presencePenalty: 0 }
  const answers: string[] = []
  for (const prompt of asked) {
    const request = { ...plain, prompt, maxTokens: 32, frequencyPenalty: 0 }
    let written = ''
    for await (const { text } of runner.generate!(request, new AbortController().signal)) written += text
    answers.push(written)
  }
  return { name: layout, ...bundle, asked, answers }
}

/** A classifier of small images, asked of files in `folder`: one of its size, and in Node one that must be made smaller. */
async function images(folder: string): Promise<Asked> {
  const { model } = (await madeGraphs()).find(({ name }) => name === 'resnet-small')!
  const labels = ['a', 'b', 'c', 'd']
  const scale = { mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.25, 0.3] }
  const bundle = bundled(
    {
      task: 'image-classification',
      family: 'resnet',
      signature: signatureOf(model),
      labels,
      pipeline: { height: 12, width: 12, channels: 3, fit: 'cover', ...scale },
      parameters: 1,
    },
    { 'model.onnx': writeModel(model) },
  )
  const png = (width: number, height: number) =>
    sharp(
      Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37 + i * i) % 256),
      { raw: { width, height, channels: 3 } },
    )
      .png()
      .toBuffer()
  const content = [await png(12, 12), await png(40, 30)]
  const asked = content.map((bytes, i) => {
    const path = join(folder, `image-${i}.png`)
    writeFileSync(path, bytes)
    return path
  })
  const answers = await classes(bundle, { kind: 'images', images: content }, 2)
  return { name: 'resnet', ...bundle, asked, answers, beyondPython: asked.slice(1) }
}

/** A plain graph of two inputs. */
async function tensors(): Promise<Asked> {
  const g = new GraphBuilder()
  const [x, n] = [g.input('x', 'float32', ['batch', 2]), g.input('n', 'int64', ['batch', 2])]
  g.output(o.add(o.mul(x, 2), o.cast(n, 'float32')), 'y')
  g.output(o.gather(g.initializer('table', int64([3, 2], [1, 2, 3, 4, 5, 6])), n), 'rows')
  const model = g.build()
  const manifest = { task: 'tensor', family: 'onnx', signature: signatureOf(model), labels: [], parameters: 6 }
  const y = { dims: [2, 2], data: [1, 6, 0.5, 3] }
  const rows = { dims: [2, 2, 2], data: [1, 2, 5, 6, 3, 4, 3, 4] }
  const asked = [
    JSON.stringify({
      x: [
        [0.5, 2],
        [-0.25, 1],
      ].map((row) => row),
      n: [
        [0, 2],
        [1, 1],
      ],
    }),
  ]
  return { name: 'tensors', ...bundled(manifest, { 'model.onnx': writeModel(model) }), asked, answers: [{ y, rows }] }
}

/** A version of each task of encoders of a layout. */
export const askedEncoders = (layout: EncoderConfig['layout']) =>
  Promise.all(heads.map((head) => encoder(layout, head)))

/** A version of every task and way to cut texts; images lie in `folder`. */
export const askedVersions = async (folder: string): Promise<Asked[]> => [
  await classifier('lstm', 'word'),
  await classifier('textcnn', 'character'),
  await classifier('textcnn', 'both'),
  await classifier('bow', 'bpe'),
  await kerasTexts(),
  ...(await askedEncoders('bert')),
  await decoder('gpt'),
  await decoder('llama'),
  await images(folder),
  await tensors(),
]

/** Writes an export of a version into a folder; undefined where the format cannot express it. */
export async function putExport(
  folder: string,
  { manifest, files }: Bundle,
  format: string,
): Promise<string[] | undefined> {
  const written = await exportBundle(manifest, files, format, {}).catch((error: { code?: string }) => {
    if (error.code !== 'UNSUPPORTED') throw error
    return undefined
  })
  for (const [name, content] of Object.entries(written ?? {})) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  return written && Object.keys(written)
}

/** The largest difference of two answers' numbers; infinite where anything else differs. */
export function difference(found: unknown, expected: unknown): number {
  if (typeof found === 'number' && typeof expected === 'number') return Math.abs(found - expected)
  if (typeof expected !== 'object' || expected === null) return found === expected ? 0 : Number.POSITIVE_INFINITY
  // classes come as pairs in JavaScript, by their labels in Python
  const [a, b] = [byLabel(found), expected].map((one) =>
    Object.entries(one as object).toSorted(([one], [other]) => (one < other ? -1 : 1)),
  )
  if (a.length !== b.length || a.some(([key], i) => key !== b[i][0])) return Number.POSITIVE_INFINITY
  return Math.max(0, ...a.map(([, value], i) => difference(value, b[i][1])))
}

function byLabel(found: unknown): unknown {
  const pairs = Array.isArray(found) && found.every((one) => one && typeof one === 'object' && !('token' in one))
  if (!pairs || found.length === 0) return found ?? {}
  return Object.fromEntries((found as { label: string; score: number }[]).map(({ label, score }) => [label, score]))
}
