import type { Manifest } from '../bundle/manifest.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import type { StoredDecoder } from './decoders/decoder.ts'
import type { BlockName } from './gguf/blocks.ts'
import type { ImportOptions } from './options.ts'
import type { Files, Source } from './source.ts'
import { isTfjs } from './tfjs/document.ts'

/** What reading a model gives: its graph, and whether it leaves padding (id 0) out of account by itself. */
export interface ReadModel {
  model: ModelProto
  masksPadding?: boolean
  /** What is more than a graph: a decoder comes with its tokenizer and knows its task. */
  decoder?: StoredDecoder
}

/** What a format is written from: a version's graph and what the manifest says of it. */
export interface WrittenModel {
  model: ModelProto
  manifest: Manifest
  tokenizer?: string
}

export interface WriteOptions {
  /** ONNX: the operator set to convert down to. */
  opset?: number
  /** ONNX: keep tensors in a second file. */
  externalData?: boolean
  /** ONNX: keep operators that only onnxruntime knows. */
  keepOperators?: boolean
}

/** What a format that says all of a model gives: what the manifest says of it, and the bundle's files. */
interface BundleParts {
  manifest: Omit<Manifest, 'format' | 'formatVersion' | 'metrics' | 'lineage' | 'createdAt'>
  files: Files
}

/** One row of the table: what a format is, how it is told apart, how it is read and written. */
export interface Format {
  /** The name to give to --format. */
  readonly name: string
  readonly title: string
  /** How its files look. */
  readonly files: string
  /** Whether a source is of this format, by its content. */
  recognises?(source: Source): boolean
  read?(source: Source): Promise<ReadModel>
  write?(model: WrittenModel, options: WriteOptions): Promise<Files>
  /** For formats that say all of a model, its task, labels and tokenizer too; undefined for what `read` and `write` do. */
  readBundle?(source: Source, options: ImportOptions): Promise<BundleParts | undefined>
  writeBundle?(manifest: Manifest, files: Readonly<Record<string, Uint8Array>>): Promise<Files | undefined>
  /** What comes out and what goes in, with its limits; for documentation and `athanor formats`. */
  readonly out: string
  readonly in: string
}

const one = (source: Source, test: (bytes: Uint8Array) => boolean) =>
  source.names.length === 1 && test(source.read(source.names[0]))

/** The main file of an ONNX model among its external data. */
const onnxFile = (source: Source) => source.names.find((name) => name.endsWith('.onnx')) ?? source.names[0]

const onnx: Format = {
  name: 'onnx',
  title: 'ONNX',
  files: 'model.onnx, with external data beside it where asked for',
  // field 1 (the format's version) as a varint comes first in every known writer's files
  recognises: (source) =>
    onnxFile(source).endsWith('.onnx') || one(source, (bytes) => bytes[0] === 8 && bytes[1] >= 3 && bytes[1] <= 13),
  async read(source) {
    const [{ readModel }, { inlineExternalData }] = await Promise.all([
      import('../graph/codec.ts'),
      import('./onnx/external.ts'),
    ])
    return { model: readModel(source.read(onnxFile(source)), (model) => inlineExternalData(model, source)) }
  },
  async write({ model }, options) {
    const { writeOnnx } = await import('./onnx/write.ts')
    return writeOnnx(model, options)
  },
  out: 'Standard operators only: onnxruntime’s own are written out. `--opset` converts down to 13, `--external-data` keeps tensors in a second file.',
  in: 'Up to 2 GiB. External data must come with the model; it is checked and joined into one file.',
}

const keras: Format = {
  name: 'keras',
  title: 'Keras 3',
  files: 'model.keras',
  recognises: (source) => source.names.length === 1 && source.names[0].endsWith('.keras'),
  async read(source) {
    const { readKerasArchive } = await import('./keras/files.ts')
    return readKerasArchive(source.read(source.names[0]))
  },
  async write(model) {
    const { writeKerasArchive } = await import('./keras/write.ts')
    return writeKerasArchive(model)
  },
  out: 'Text classifiers of our families, as Keras’ own layers that can be trained on: ids (0 for padding at the end) to probabilities. Not bow with n-grams of two and more tokens, not wide, not quantized versions.',
  in: 'Sequential and functional models of the layers below. Lambda and custom objects are refused by name; nothing is run.',
}

const kerasH5: Format = {
  name: 'keras-h5',
  title: 'Keras HDF5',
  files: 'model.h5',
  recognises: (source) => one(source, (bytes) => bytes[0] === 0x89 && bytes[1] === 0x48 && bytes[2] === 0x44),
  async read(source) {
    const { readKerasH5 } = await import('./keras/files.ts')
    return readKerasH5(source.read(source.names[0]))
  },
  async write(model) {
    const { writeKerasH5 } = await import('./keras/write.ts')
    return writeKerasH5(model)
  },
  out: 'As Keras 3, in the form that Keras 2 reads too.',
  in: 'As Keras 3. Files of Keras 2 too.',
}

const tfjsLayers: Format = {
  name: 'tfjs-layers',
  title: 'TensorFlow.js layers',
  files: 'model.json and group1-shard*.bin',
  recognises: (source) => isTfjs(source, 'layers-model'),
  async read(source) {
    const { readTfjsLayers } = await import('./tfjs/layers.ts')
    return readTfjsLayers(source)
  },
  async write(model) {
    const { writeTfjsLayers } = await import('./tfjs/layers.ts')
    return writeTfjsLayers(model)
  },
  out: 'As Keras 3, but not transformer and gru: TensorFlow.js has neither attention nor a GRU that resets after its product.',
  in: 'As Keras 3; weights quantized to 8 or 16 bits are read as floats.',
}

/** The type of the model whose folder a source is, as Hugging Face's libraries keep it; undefined for anything else. */
function modelType(source: Source): string | undefined {
  if (!source.names.includes('config.json')) return undefined
  try {
    const type = (JSON.parse(textOf(source, 'config.json')) as { model_type?: unknown } | null)?.model_type
    return typeof type === 'string' ? type : undefined
  } catch {
    return undefined
  }
}

const decoderTypes: readonly (string | undefined)[] = ['gpt2', 'llama']

const huggingface: Format = {
  name: 'huggingface',
  title: 'Hugging Face folder',
  files: 'config.json, tokenizer.json, model.safetensors, and what the libraries want beside them',
  recognises: (source) => modelType(source) !== undefined,
  async readBundle(source) {
    if (decoderTypes.includes(modelType(source))) return undefined
    const [{ readFolder }, { bundleEncoder }] = await Promise.all([
      import('./huggingface/folder.ts'),
      import('./huggingface/bundle.ts'),
    ])
    const { manifest, files } = bundleEncoder(
      await readFolder(new Map(source.names.map((name) => [name, async () => source.read(name)]))),
    )
    return { manifest, files: bytesOf(Object.entries(files)) }
  },
  async writeBundle(manifest, files) {
    if (manifest.task === 'text-generation') return undefined
    const [{ writeFolder }, { encoderFrom }] = await Promise.all([
      import('./huggingface/write.ts'),
      import('./huggingface/bundle.ts'),
    ])
    return bytesOf(writeFolder(encoderFrom(manifest, (file) => files[file], manifest.family)))
  },
  async read(source) {
    const { readDecoderFolder } = await import('./decoders/huggingface.ts')
    return readDecoder(readDecoderFolder((name) => (source.names.includes(name) ? source.read(name) : undefined)))
  },
  async write(model) {
    const { writeDecoderFolder } = await import('./decoders/huggingface.ts')
    return bytesOf(Object.entries(writeDecoderFolder(await decoderOf(model))))
  },
  out: 'Encoders: transformers and sentence-transformers load them. Models that write, of the GPT-2 and Llama layouts: transformers loads them. The weights lie there twice, as safetensors and in onnx/model.onnx, which transformers.js loads.',
  in: 'BERT, RoBERTa, XLM-RoBERTa, CamemBERT and DistilBERT (MiniLM and sentence-transformers of these): embeddings, masked words, classes of texts or words. From model.safetensors, else from onnx/model.onnx if its products are neither fused nor quantized. GPT-2 and Llama without scaled positions and biases, as safetensors, whole or in shards. All can be trained on.',
}

const bytesOf = (files: Iterable<readonly [string, Uint8Array | string]>): Files =>
  Object.fromEntries([...files].map(([name, content]) => [name, Buffer.from(content)]))

const savedModel: Format = {
  name: 'savedmodel',
  title: 'TensorFlow SavedModel',
  files: 'saved_model.pb',
  recognises: (source) => source.names.some((name) => /(^|\/)saved_model\.pb$/.test(name)),
  async read(source) {
    const { readSavedModel } = await import('./tensorflow/read.ts')
    return readSavedModel(source)
  },
  async write(model) {
    const { writeSavedModel } = await import('./tensorflow/write.ts')
    return writeSavedModel(model)
  },
  out: 'Signature `serving_default` with the model’s own inputs (ids and lengths for texts); models of single characters have `serving_texts` as well, which takes strings. Weights are constants of the graph. An operator without a counterpart is refused by name. Up to 2 GiB.',
  in: 'The signature `serving_default`: functions are inlined, variables come from the checkpoint in the folder, loops over the rows of lists (as Keras writes recurrent layers) become Scan. Operators of the list below; others are refused by name, all at once. No dilated Conv1D, no control flow of TensorFlow 1.',
}

const pickle: Format = {
  name: 'pytorch',
  title: 'PyTorch pickle',
  files: '.pt, .pth, .bin',
  out: 'Never.',
  in: 'Never: loading a pickle runs the program in it. It is refused by its content, whatever its name. Convert it: `safetensors.torch.save_file(model.state_dict(), "model.safetensors")`.',
}

const tflite: Format = {
  name: 'tflite',
  title: 'TensorFlow Lite',
  files: 'model.tflite',
  async write(model) {
    const { writeLite } = await import('./tflite/write.ts')
    return writeLite(model)
  },
  out: 'Classifiers bow, textcnn, wide and transformer, encoders with each head, residual networks: signature `serving_default` with the model’s own inputs, whole numbers as int32 (int64 for wide, and for bow with n-grams of two and more tokens). Not recurrent layers, nor models that write. Up to 1 GiB.',
  in: 'Not supported: its operators are quantized in ways that ONNX does not say exactly.',
}

const tfjsGraph: Format = {
  name: 'tfjs-graph',
  title: 'TensorFlow.js graph',
  files: 'model.json and group1-shard*.bin',
  recognises: (source) => isTfjs(source, 'graph-model'),
  async read(source) {
    const { readTfjsGraph } = await import('./tfjs/read-graph.ts')
    return readTfjsGraph(source)
  },
  async write(model) {
    const { writeTfjsGraph } = await import('./tfjs/graph.ts')
    return writeTfjsGraph(model)
  },
  out: 'As SavedModel, with int32 for whole numbers: not wide, nor bow with n-grams of two and more tokens, whose hashes need 64 bits. Run it with `executeAsync`.',
  in: 'As SavedModel, with its weights beside it; weights quantized to 8 or 16 bits are read as floats. Not graphs with control flow (Enter, Switch, …), as recurrent layers become in conversion.',
}

const gguf = (type: BlockName, name: string): Format => ({
  name,
  title: `GGUF, ${type}`,
  files: 'model.gguf',
  ...(name === 'gguf' && {
    recognises: (source: Source) =>
      one(source, (bytes) => Buffer.from(bytes.subarray(0, 4)).toString('latin1') === 'GGUF'),
    async read(source: Source) {
      const { readLlamaGguf } = await import('./gguf/llama.ts')
      return readDecoder(readLlamaGguf(source.read(source.names[0])))
    },
    async readBundle(source: Source) {
      const { becomesGraph, llamaBundle } = await import('./gguf/foreign.ts')
      const bytes = source.read(source.names[0])
      return becomesGraph(bytes) ? undefined : llamaBundle(bytes)
    },
  }),
  async write(model) {
    const { writeLlamaGguf } = await import('./gguf/llama.ts')
    return { 'model.gguf': writeLlamaGguf(await decoderOf(model), model.manifest.family, type) }
  },
  out: 'Models that write, of the Llama layout, for llama.cpp. Matrices whose rows are no multiple of 32 stay f16.',
  in:
    name === 'gguf'
      ? 'Llama layouts of f32, f16, q8_0 and q4_0 with byte-level pairs; they can be trained on. All others are run by llama.cpp as they are.'
      : 'As gguf.',
})

const ggufLlama: Format = {
  name: 'gguf-llama',
  title: 'GGUF for llama.cpp',
  files: 'model.gguf',
  async readBundle(source) {
    return (await import('./gguf/foreign.ts')).llamaBundle(source.read(source.names[0]))
  },
  out: 'As gguf.',
  in: 'By its name only: run by llama.cpp as it is, also where it could become a graph.',
}

const transformers: Format = {
  name: 'transformers',
  title: 'folder for transformers.js',
  files: 'config.json, onnx/*.onnx, tokenizer.json, preprocessor_config.json, as its task needs',
  async readBundle(source, { task }) {
    return (await import('./huggingface/transformers.ts')).transformersBundle(source, task)
  },
  out: 'No.',
  in: 'By its name only: run by transformers.js as it is. Speech recognition, detection, segmentation, translation, summaries, question answering, labels given with the request (of texts, and of images by CLIP). Exported as transformers.js expects it, in float32 or, where there is nothing else, in 8 bits.',
}

const textOf = (source: Source, name: string) => Buffer.from(source.read(name)).toString('utf8')

async function decoderOf({ manifest, model, tokenizer }: WrittenModel): Promise<StoredDecoder> {
  const { decoderFrom } = await import('./decoders/decoder.ts')
  return decoderFrom(manifest, model, tokenizer ?? '')
}

async function readDecoder(decoder: StoredDecoder): Promise<ReadModel> {
  const { decoderGraph } = await import('../nn/decoder.ts')
  return { model: decoderGraph(decoder.config, decoder.weights), decoder }
}

/** Every format, in the order in which a source is tried. */
export const formats: readonly Format[] = [
  huggingface,
  gguf('f16', 'gguf'),
  gguf('f32', 'gguf-f32'),
  gguf('q8_0', 'gguf-q8_0'),
  gguf('q4_0', 'gguf-q4_0'),
  ggufLlama,
  transformers,
  onnx,
  keras,
  kerasH5,
  savedModel,
  tfjsLayers,
  tfjsGraph,
  tflite,
  pickle,
]
