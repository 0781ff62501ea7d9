import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { zipSync } from 'fflate'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { pack } from 'tar-stream'
import { openDataset } from '../data/dataset.ts'
import { openImages } from '../data/images/source.ts'
import { kerasTokenizer } from '../data/keras-tokenizer.ts'
import { PublishedTokenizer } from '../data/published.ts'
import { readTagged } from '../data/tagged.ts'
import { readTensors } from '../data/tensors.ts'
import { bundleDecoder } from '../formats/decoders/decoder.ts'
import { formats, type WrittenModel } from '../formats/formats.ts'
import { readConfig } from '../formats/huggingface/config.ts'
import { writeFolder } from '../formats/huggingface/write.ts'
import { importBundle } from '../formats/import.ts'
import { readHdf5 } from '../formats/keras/hdf5.ts'
import { writeHdf5 } from '../formats/keras/hdf5-write.ts'
import { readSafetensors } from '../formats/safetensors.ts'
import { type Files, parseJson, sourceOf } from '../formats/source.ts'
import { readSavedModel } from '../formats/tensorflow/read.ts'
import { readZip } from '../formats/zip.ts'
import { float32 } from '../graph/tensor.ts'
import { decoderGraph } from '../nn/decoder.ts'
import { sentences } from './classifiers.ts'
import { smallDecoder } from './decoders.ts'
import { goldenSavedModels } from './savedmodels.ts'
import { tinyEncoder } from './tiny-encoder.ts'
import { madeVariants } from './variants.ts'

/** A reader of files from outside, and files that it reads. */
export interface Reader {
  readonly name: string
  readonly files: Files
  read(files: Files): Promise<unknown>
}

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (content: Uint8Array) => new TextDecoder().decode(content)
/** Formats whose reader and writer are those of decoders. */
const ofDecoders = ['huggingface', 'gguf']

/** Two images of 3 x 4 grey pixels in MNIST's form, and their labels. */
const idx: Files = {
  'train-images-idx3-ubyte': Uint8Array.of(
    0,
    0,
    8,
    3,
    0,
    0,
    0,
    2,
    0,
    0,
    0,
    3,
    0,
    0,
    0,
    4,
    ...new Uint8Array(24).fill(7),
  ),
  'train-labels-idx1-ubyte': Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 3, 5),
}

async function drained(rows: AsyncIterable<unknown>) {
  for await (const _ of rows);
}

/** The files in a folder of their own, for readers that open paths. */
async function onDisk(files: Files, read: (folder: string) => Promise<unknown>) {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-fuzz-'))
  try {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
    await read(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const table = (name: string, content: Uint8Array): Reader => ({
  name,
  files: { [name]: content },
  read: (files) =>
    onDisk(files, async (folder) => {
      const dataset = await openDataset(join(folder, name), { text: 'text', label: 'label' })
      try {
        await drained(dataset.rows())
      } finally {
        await dataset.close()
      }
    }),
})

/** A table with a text and its label, and lists of numbers, each row a list of its own. */
export function parquetFile(rows: number): Uint8Array {
  const column = <T>(of: (row: number) => T) => Array.from({ length: rows }, (_, row) => of(row))
  const columnData = [
    { name: 'text', data: column((row) => `sun ${row} 今天`), type: 'STRING' as const },
    { name: 'label', data: column((row) => (row % 3 ? 'good' : 'bad')), type: 'STRING' as const },
    { name: 'count', data: column((row) => BigInt(row)), type: 'INT64' as const },
    { name: 'x', data: column((row) => [row, row / 2]), type: 'JSON' as const },
  ]
  return new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 20 }))
}

/** Every reader of files that come from outside, with small files of its format. */
export async function readers(): Promise<Reader[]> {
  const variants = await madeVariants()
  const made = variants[0]
  const convolution = variants.find(({ name }) => name === 'textcnn')!
  const decoder = await smallDecoder('llama', { width: 32 })
  const { manifest } = bundleDecoder(decoder)
  const decoding: WrittenModel = {
    model: decoderGraph(decoder.config, decoder.weights),
    manifest: { ...made.manifest, ...manifest },
    tokenizer: decoder.tokenizerJson,
  }
  const found: Reader[] = []
  for (const { name, read, write } of formats) {
    if (!read || !write) continue
    // recurrent layers of ours are loops of TensorFlow 1 there, which are not read
    const written = name === 'savedmodel' || name === 'tfjs-graph' ? convolution : made
    const files = await write(ofDecoders.includes(name) ? decoding : written, {})
    // with all that an import does beside reading
    const options = ofDecoders.includes(name) ? { format: name } : { format: name, task: 'tensor' as const }
    found.push({ name, files, read: (given) => importBundle(sourceOf(given), options) })
  }
  const [onnx, huggingface] = ['onnx', 'huggingface'].map((name) => formats.find((format) => format.name === name)!)
  const encoder = Object.fromEntries(
    [...writeFolder(tinyEncoder(sentences(20).map(({ text }) => text)))]
      .filter(([name]) => !name.startsWith('onnx/'))
      .map(([name, content]) => [name, typeof content === 'string' ? bytes(content) : content]),
  )
  const { 'tokenizer.json': tokenizer, 'config.json': config, 'model.safetensors': safetensors } = encoder
  return [
    ...found,
    {
      name: 'onnx with external data',
      files: await onnx.write!(made, { externalData: true }),
      read: (files) => onnx.read!(sourceOf(files)),
    },
    {
      name: 'onnx with a tokenizer',
      files: await onnx.write!(made, {}),
      read: (files) => importBundle(sourceOf(files), { tokenizer: kerasTokenizerJson, length: 20 }),
    },
    {
      name: 'folder for transformers.js',
      files: { 'config.json': config, 'onnx/model.onnx': (await onnx.write!(made, {}))['model.onnx'] },
      read: (files) => importBundle(sourceOf(files), { format: 'transformers', task: 'object-detection' }),
    },
    {
      name: 'savedmodel with variables',
      files: goldenSavedModels().lstm.files,
      read: async (files) => readSavedModel(sourceOf(files)),
    },
    {
      name: 'GGUF for llama.cpp',
      files: found.find(({ name }) => name === 'gguf')!.files,
      read: (files) => formats.find(({ name }) => name === 'gguf-llama')!.readBundle!(sourceOf(files), {}),
    },
    { name: 'huggingface encoder', files: encoder, read: (files) => huggingface.readBundle!(sourceOf(files), {}) },
    {
      name: 'tokenizer.json',
      files: { 'tokenizer.json': tokenizer },
      read: async ({ 'tokenizer.json': json }) =>
        new PublishedTokenizer(text(json), { maxLength: 32 }).encode(['sun w1 今天', 'a'.repeat(300)]),
    },
    {
      name: 'Keras tokenizer',
      files: { 'tokenizer.json': bytes(kerasTokenizerJson) },
      read: async ({ 'tokenizer.json': json }) => kerasTokenizer(text(json)).encode(['sun w1, 今天']),
    },
    {
      name: 'config.json',
      files: { 'config.json': config },
      read: async ({ 'config.json': json }) => readConfig(parseJson('Hugging Face', json)),
    },
    {
      name: 'safetensors',
      files: { 'model.safetensors': safetensors },
      read: async ({ 'model.safetensors': content }) => readSafetensors(content),
    },
    {
      name: 'zip',
      files: { 'model.zip': zipSync({ 'a/b.txt': bytes('sun '.repeat(300)), c: bytes('rain') }) },
      read: async ({ 'model.zip': content }) => readZip(content, 'zip', () => true),
    },
    {
      name: 'HDF5',
      files: {
        'model.h5': await writeHdf5({
          attributes: { model_config: '{}', weight_names: ['a', 'b'] },
          groups: { g: { arrays: { a: float32([2, 3], new Float32Array(6)) } } },
        }),
      },
      read: async ({ 'model.h5': content }) => readHdf5(content),
    },
    {
      name: 'idx',
      files: idx,
      read: (files) => onDisk(files, (folder) => drained(openedImages(folder))),
    },
    {
      name: 'idx, gzipped',
      files: Object.fromEntries(Object.entries(idx).map(([name, content]) => [`${name}.gz`, gzipSync(content)])),
      read: (files) => onDisk(files, (folder) => drained(openedImages(folder))),
    },
    {
      name: 'tar of images',
      files: { 'images.tar': await tarOf({ 'cat/1.png': bytes('a cat'), 'dog/1.png': bytes('a dog') }) },
      read: (files) => onDisk(files, (folder) => drained(openedImages(join(folder, 'images.tar')))),
    },
    ...['words.jsonl', 'words.conll'].map((name) => ({
      name,
      files: { [name]: bytes(tagged[name]) },
      read: (files: Files) => onDisk(files, (folder) => drained(readTagged({ path: join(folder, name), name }))),
    })),
    {
      name: 'tensors',
      files: { 'rows.jsonl': bytes('{"x":[[1,2],[3,4]],"y":0}\n{"x":[5,6,7,8],"y":1}\n') },
      read: (files) =>
        onDisk(files, (folder) =>
          readTensors({ path: join(folder, 'rows.jsonl'), source: 'rows.jsonl' }, [{ name: 'x', dims: [2, -1] }], 'y'),
        ),
    },
    table('rows.csv', bytes('text,label\n"sun, and rain",good\n今天,bad\n')),
    table('rows.jsonl', bytes('{"text":"sun","label":"good"}\n{"text":"rain","label":"bad"}\n')),
    table('rows.parquet', parquetFile(40)),
    table('rows.zip', zipSync({ 'rows.csv': bytes('text,label\nsun,good\nrain,bad\n'.repeat(20)) })),
  ]
}

const tagged: Record<string, string> = {
  'words.jsonl': '{"tokens":["sun","and"],"tags":["B-X","O"]}\n{"tokens":["rain"],"tags":["O"]}\n',
  'words.conll': 'sun B-X\nand O\n\n-DOCSTART- O\n\nrain O\n',
}

async function tarOf(files: Files): Promise<Uint8Array> {
  const archive = pack()
  for (const [name, content] of Object.entries(files)) archive.entry({ name }, Buffer.from(content))
  archive.finalize()
  return new Uint8Array(await new Response(archive as unknown as ReadableStream).arrayBuffer())
}

async function* openedImages(folder: string) {
  yield* (await openImages(folder)).images()
}

const kerasTokenizerJson = JSON.stringify({
  class_name: 'Tokenizer',
  config: {
    num_words: null,
    filters: '!"#$%&()*+,-./:;<=>?@[]^_`{|}~\t\n',
    lower: true,
    split: ' ',
    char_level: false,
    oov_token: null,
    document_count: 2,
    word_counts: '{"sun": 2, "rain": 1}',
    word_docs: '{"sun": 2, "rain": 1}',
    index_docs: '{"1": 2, "2": 1}',
    index_word: '{"1": "sun", "2": "rain"}',
    word_index: '{"sun": 1, "rain": 2}',
  },
})
