import type { Manifest } from '../bundle/manifest.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import type { Files, Source } from './source.ts'
import { isTfjs } from './tfjs/document.ts'

/** What reading a model gives: its graph, and whether it leaves padding (id 0) out of account by itself. */
export interface ReadModel {
  model: ModelProto
  masksPadding?: boolean
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
  /** For formats that say all of a model, its task, labels and tokenizer too. */
  readBundle?(source: Source): Promise<BundleParts>
  writeBundle?(manifest: Manifest, files: Readonly<Record<string, Uint8Array>>): Promise<Files>
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
  out: 'Text classifiers of our families, as Keras’ own layers that can be trained on: ids (0 for padding at the end) to probabilities. Not bow with n-grams of two and more tokens, not quantized versions.',
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

/** Whether a source is the folder of a model as Hugging Face's libraries keep it. */
function isFolder(source: Source): boolean {
  if (!source.names.includes('config.json')) return false
  try {
    return (
      typeof (JSON.parse(Buffer.from(source.read('config.json')).toString('utf8')) as { model_type?: unknown })
        ?.model_type === 'string'
    )
  } catch {
    return false
  }
}

const huggingface: Format = {
  name: 'huggingface',
  title: 'Hugging Face folder',
  files: 'config.json, tokenizer.json, model.safetensors (and onnx/model.onnx)',
  recognises: isFolder,
  async readBundle(source) {
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
    const [{ writeFolder }, { encoderFrom }] = await Promise.all([
      import('./huggingface/write.ts'),
      import('./huggingface/bundle.ts'),
    ])
    return bytesOf(writeFolder(encoderFrom(manifest, (file) => files[file], manifest.family)))
  },
  out: 'Encoders: transformers and sentence-transformers load the safetensors; the ONNX graph lies where transformers.js looks for it.',
  in: 'BERT, RoBERTa, XLM-RoBERTa, CamemBERT and DistilBERT (MiniLM and sentence-transformers of these): embeddings, masked words, classes of texts or words. From model.safetensors, else from onnx/model.onnx if its products are neither fused nor quantized.',
}

const bytesOf = (files: Iterable<readonly [string, Uint8Array | string]>): Files =>
  Object.fromEntries([...files].map(([name, content]) => [name, Buffer.from(content)]))

const savedModel: Format = {
  name: 'savedmodel',
  title: 'TensorFlow SavedModel',
  files: 'saved_model.pb',
  recognises: (source) => source.names.some((name) => /(^|\/)saved_model\.pb$/.test(name)),
  async write(model) {
    const { writeSavedModel } = await import('./tensorflow/write.ts')
    return writeSavedModel(model)
  },
  out: 'Signature `serving_default` with the model’s own inputs (ids and lengths for texts); weights are constants of the graph. An operator without a counterpart is refused by name. Up to 2 GiB.',
  in: 'Not supported yet: load it in Keras or convert it with tf2onnx, and import .keras or ONNX.',
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
  out: 'Not supported: write `--format keras` and convert it with `tf.lite.TFLiteConverter.from_keras_model`, TensorFlow’s own and only writer.',
  in: 'Not supported: its operators are quantized in ways that ONNX does not say exactly.',
}

const tfjsGraph: Format = {
  name: 'tfjs-graph',
  title: 'TensorFlow.js graph',
  files: 'model.json and group1-shard*.bin',
  recognises: (source) => isTfjs(source, 'graph-model'),
  async write(model) {
    const { writeTfjsGraph } = await import('./tfjs/graph.ts')
    return writeTfjsGraph(model)
  },
  out: 'As SavedModel, with int32 for whole numbers: not bow with n-grams of two and more tokens, whose hash needs 64 bits. Run it with `executeAsync`.',
  in: 'Not supported yet: import the model that it was converted from.',
}

/** Every format, in the order in which a source is tried. */
export const formats: readonly Format[] = [
  huggingface,
  onnx,
  keras,
  kerasH5,
  savedModel,
  tfjsLayers,
  tfjsGraph,
  tflite,
  pickle,
]
