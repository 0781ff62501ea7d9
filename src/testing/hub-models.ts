import { GraphBuilder, type Value } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { tinyEncoder } from './tiny-encoder.ts'

const json = (value: unknown) => Buffer.from(JSON.stringify(value))
type Folder = Record<string, Uint8Array<ArrayBuffer>>

function tokenizerOf(texts: readonly string[]) {
  const { tokenizerJson } = tinyEncoder(texts)
  const { model } = JSON.parse(tokenizerJson) as { model: { vocab: Record<string, number> } }
  const files = {
    'tokenizer.json': Buffer.from(tokenizerJson),
    'tokenizer_config.json': json({ tokenizer_class: 'BertTokenizer', model_max_length: 64 }),
  }
  return { files, vocab: model.vocab, size: Object.keys(model.vocab).length }
}

/** A folder for transformers.js whose answer to any question is the word `answer`, where the context has it. */
export function answering(text: string, answer: string): Folder {
  const { files, vocab, size } = tokenizerOf([text])
  const g = new GraphBuilder()
  const ids = g.input('input_ids', 'int64', ['batch', 'time'])
  const mask = g.input('attention_mask', 'int64', ['batch', 'time'])
  const table = Float32Array.from({ length: size }, (_, id) => (id === vocab[answer] ? 9 : 0))
  const scores = o.mul(o.gather(g.constant(float32([size], table)), ids), o.cast(mask, 'float32'))
  g.output(scores, 'start_logits')
  g.output(o.mul(scores, 2), 'end_logits')
  return {
    ...files,
    'config.json': json({ model_type: 'bert', architectures: ['BertForQuestionAnswering'] }),
    'onnx/model.onnx': Buffer.from(writeModel(g.build())),
  }
}

/** How images are made ready: black is -1, white is 1. */
const pixelsAroundZero = {
  do_resize: true,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
}

/** A folder for transformers.js that sees a cat in a bright image and a dog in a dark one, in its middle. */
export function detecting(): Folder {
  const g = new GraphBuilder()
  const pixels = g.input('pixel_values', 'float32', ['batch', 3, 'height', 'width'])
  g.input('pixel_mask', 'int64', ['batch', 64, 64])
  const brightness = o.reshape(o.reduceMean(pixels, [1, 2, 3]), [-1, 1, 1])
  const weights = g.constant(float32([1, 1, 3], Float32Array.of(8, -8, 0)))
  g.output(o.mul(brightness, weights), 'logits')
  const box = g.constant(float32([1, 1, 4], Float32Array.of(0.5, 0.5, 0.5, 0.5)))
  g.output(o.add(o.mul(brightness, 0), box), 'pred_boxes')
  return {
    'config.json': json({
      model_type: 'detr',
      architectures: ['DetrForObjectDetection'],
      id2label: { 0: 'cat', 1: 'dog' },
    }),
    'preprocessor_config.json': json({
      feature_extractor_type: 'DetrFeatureExtractor',
      ...pixelsAroundZero,
      size: 32,
      max_size: 64,
    }),
    'onnx/model.onnx': Buffer.from(writeModel(g.build())),
  }
}

/** A folder for transformers.js that sees `sky` where an image is bright and `ground` where it is dark. */
export function segmenting(): Folder {
  const g = new GraphBuilder()
  const pixels = g.input('pixel_values', 'float32', ['batch', 3, 'height', 'width'])
  const weights = g.constant(float32([1, 2, 1, 1], Float32Array.of(8, -8)))
  g.output(o.mul(o.reduceMean(pixels, [1], true), weights), 'logits')
  return {
    'config.json': json({
      model_type: 'segformer',
      architectures: ['SegformerForSemanticSegmentation'],
      id2label: { 0: 'sky', 1: 'ground' },
    }),
    'preprocessor_config.json': json({
      ...pixelsAroundZero,
      image_processor_type: 'SegformerImageProcessor',
      size: { height: 32, width: 32 },
    }),
    'onnx/model.onnx': Buffer.from(writeModel(g.build())),
  }
}

/** A folder of CLIP's layout for transformers.js: the word `bright` fits a bright image, the word `dark` a dark one. */
export function matching(): Folder {
  const { files, vocab, size } = tokenizerOf(['bright dark'])
  const g = new GraphBuilder()
  const ids = g.input('input_ids', 'int64', ['texts', 'time'])
  g.input('attention_mask', 'int64', ['texts', 'time'])
  const pixels = g.input('pixel_values', 'float32', ['images', 3, 'height', 'width'])
  const table = Float32Array.from({ length: size }, (_, id) => Number(id === vocab.bright) - Number(id === vocab.dark))
  const meant = o.reduceSum(o.gather(g.constant(float32([size], table)), ids), [1])
  g.output(o.mul(o.reshape(o.mul(o.reduceMean(pixels, [1, 2, 3]), 8), [-1, 1]), meant), 'logits_per_image')
  return {
    ...files,
    'config.json': json({ model_type: 'clip', architectures: ['CLIPModel'] }),
    'preprocessor_config.json': json({
      ...pixelsAroundZero,
      image_processor_type: 'CLIPImageProcessor',
      size: { shortest_edge: 16 },
      do_center_crop: true,
      crop_size: { height: 16, width: 16 },
    }),
    'onnx/model.onnx': Buffer.from(writeModel(g.build())),
  }
}

/** Samples in which `hearing` hears one letter or none. */
export const FRAME = 160

/** A folder of wav2vec 2's layout for transformers.js that hears an `h` where samples are above zero and an `i` where they are below. */
export function hearing(): Folder {
  const g = new GraphBuilder()
  const samples = g.input('input_values', 'float32', ['batch', 'samples'])
  const level = o.reduceMean(o.reshape(samples, [1, -1, FRAME]), [2], true)
  const [weights, least] = [
    [0, 10, -10, 0],
    [1, 0, 0, 0],
  ].map((row) => g.constant(float32([1, 1, 4], Float32Array.from(row))))
  g.output(o.add(o.mul(level, weights), least), 'logits')
  const added = ['<pad>', 'h', 'i', '<unk>']
  return {
    'config.json': json({ model_type: 'wav2vec2', architectures: ['Wav2Vec2ForCTC'], pad_token_id: 0 }),
    'preprocessor_config.json': json({
      processor_class: 'Wav2Vec2Processor',
      feature_extractor_type: 'Wav2Vec2FeatureExtractor',
      sampling_rate: 16_000,
      do_normalize: false,
    }),
    'tokenizer.json': json({
      version: '1.0',
      added_tokens: [0, 3].map((id) => ({
        id,
        content: added[id],
        special: true,
        single_word: false,
        normalized: false,
      })),
      normalizer: null,
      pre_tokenizer: { type: 'Split', pattern: { Regex: '' }, behavior: 'Isolated', invert: false },
      post_processor: null,
      decoder: { type: 'CTC', pad_token: '<pad>', word_delimiter_token: '|', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: '<unk>',
        continuing_subword_prefix: '',
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(added.map((token, id) => [token, id])),
      },
    }),
    'tokenizer_config.json': json({ tokenizer_class: 'Wav2Vec2CTCTokenizer', pad_token: '<pad>', unk_token: '<unk>' }),
    'onnx/model.onnx': Buffer.from(writeModel(g.build())),
  }
}

/** A folder of T5's layout for transformers.js that writes one word for one word: an encoder, and a decoder with a cache. */
export function translating(words: Readonly<Record<string, string>>): Folder {
  const { files, vocab, size } = tokenizerOf([...Object.keys(words), ...Object.values(words)])
  const [pad, start, end] = [vocab['[PAD]'], vocab['[CLS]'], vocab['[SEP]']]
  const encoder = new GraphBuilder()
  const ids = encoder.input('input_ids', 'int64', ['batch', 'time'])
  encoder.input('attention_mask', 'int64', ['batch', 'time'])
  const meant = new Float32Array(size * size)
  for (const [from, to] of Object.entries(words)) meant[vocab[from] * size + vocab[to]] = 10
  encoder.output(o.gather(encoder.constant(float32([size, size], meant)), ids), 'last_hidden_state')

  const decoder = new GraphBuilder()
  const last = decoder.input('input_ids', 'int64', ['batch', 'written'])
  decoder.input('encoder_attention_mask', 'int64', ['batch', 'time'])
  const hidden = decoder.input('encoder_hidden_states', 'float32', ['batch', 'time', size])
  // after the first token the end is likelier than anything
  const next = Float32Array.from({ length: size * size }, (_, i) =>
    i % size === end && Math.floor(i / size) !== start ? 100 : 0,
  )
  const follows = o.gather(decoder.constant(float32([size, size], next)), last)
  const caches: [string, Value][] = ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'].map((name) => [
    name,
    decoder.input(`past_key_values.0.${name}`, 'float32', ['batch', 1, `past_${name}`, 1]),
  ])
  decoder.output(o.add(follows, o.reduceSum(hidden, [1], true)), 'logits')
  for (const [name, past] of caches) decoder.output(o.identity(past), `present.0.${name}`)
  const shared = { decoder_start_token_id: start, eos_token_id: end, pad_token_id: pad }
  const sizes = { d_model: size, d_kv: 1, num_heads: 1, num_layers: 1, num_decoder_layers: 1, vocab_size: size }
  return {
    ...files,
    'config.json': json({
      model_type: 't5',
      architectures: ['T5ForConditionalGeneration'],
      is_encoder_decoder: true,
      ...sizes,
      ...shared,
    }),
    'generation_config.json': json({ ...shared, max_new_tokens: 8 }),
    'onnx/encoder_model.onnx': Buffer.from(writeModel(encoder.build())),
    'onnx/decoder_model_merged.onnx': Buffer.from(writeModel(decoder.build())),
  }
}
