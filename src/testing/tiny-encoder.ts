import type { Manifest } from '../bundle/manifest.ts'
import { PublishedTokenizer } from '../data/published.ts'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import type { PublishedEncoder } from '../formats/huggingface/folder.ts'
import type { EncoderConfig } from '../nn/bert.ts'
import { type EncoderHead, encoderParameters } from '../nn/encoders.ts'
import { plainManifest } from './manifest.ts'

/** A WordPiece tokenizer of BERT's kind over the words and letters of some texts, as a tokenizer.json. */
function tinyTokenizer(texts: readonly string[]): string {
  const words = new Set(texts.flatMap((text) => text.toLowerCase().match(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? []))
  const letters = [...new Set([...words].flatMap((word) => Array.from(word)))].sort()
  const pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...letters, ...letters.map((letter) => `##${letter}`)]
  const tokens = [...new Set([...pieces, ...[...words].sort()])]
  const special = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })
  const frame = (content: string) => ({ SpecialToken: { id: content, type_id: 0 } })
  return JSON.stringify({
    version: '1.0',
    truncation: { max_length: 4, strategy: 'LongestFirst', stride: 0, direction: 'Right' },
    padding: {
      strategy: { Fixed: 4 },
      direction: 'Right',
      pad_to_multiple_of: null,
      pad_id: 0,
      pad_type_id: 0,
      pad_token: '[PAD]',
    },
    added_tokens: tokens.slice(0, 5).map(special),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [frame('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, frame('[SEP]')],
      pair: [
        frame('[CLS]'),
        { Sequence: { id: 'A', type_id: 0 } },
        frame('[SEP]'),
        { Sequence: { id: 'B', type_id: 1 } },
        { SpecialToken: { id: '[SEP]', type_id: 1 } },
      ],
      special_tokens: Object.fromEntries(
        [
          ['[CLS]', 2],
          ['[SEP]', 3],
        ].map(([token, id]) => [token, { id: token, ids: [id], tokens: [token] }]),
      ),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  })
}

/** An encoder with made-up weights, as if someone had published it; small where `sizes` do not say otherwise. */
export function tinyEncoder(
  texts: readonly string[],
  head: EncoderHead = { task: 'feature-extraction', pooling: 'mean', unit: true },
  {
    layout = 'bert',
    labels = [],
    sizes = {},
  }: { layout?: EncoderConfig['layout']; labels?: string[]; sizes?: Partial<EncoderConfig> } = {},
): PublishedEncoder {
  const tokenizerJson = tinyTokenizer(texts)
  const roberta = layout === 'roberta'
  const config: EncoderConfig = {
    layout,
    vocabulary: new PublishedTokenizer(tokenizerJson, { maxLength: 8 }).size,
    width: 32,
    layers: 2,
    heads: 4,
    inner: 64,
    positions: 64 + (roberta ? 1 : 0),
    firstPosition: roberta ? 1 : 0,
    types: { bert: 2, roberta: 1, distilbert: 0 }[layout],
    activation: 'gelu',
    epsilon: 1e-12,
    padding: 0,
    ...sizes,
  }
  const weights = Object.fromEntries(
    encoderParameters(config, head).map(({ name, dims }, k) => {
      const length = dims.reduce((a, b) => a * b, 1)
      const [centre, scale] = [name.endsWith('scale') ? 1 : 0, name.startsWith('embeddings') ? 0.4 : 0.15]
      return [
        name,
        { dims, data: Float32Array.from({ length }, (_, i) => centre + Math.sin((i + 1) * (k + 1.3) * 0.7) * scale) },
      ]
    }),
  )
  return { config, head, labels, weights, tokenizerJson, companions: {}, maxLength: 64 }
}

/** The same as a bundle that can be registered. */
export function tinyEncoderBundle(texts: readonly string[], head: EncoderHead, labels: string[], mask = '[MASK]') {
  const encoder = tinyEncoder(texts, head, { labels })
  const tokenizerJson = encoder.tokenizerJson.replaceAll('[MASK]', mask)
  const { manifest, files } = bundleEncoder({ ...encoder, tokenizerJson })
  const whole: Manifest = { ...plainManifest, ...manifest }
  const stored = Object.entries(files).map(([name, content]) => [name, Buffer.from(content)] as const)
  return { manifest: whole, files: Object.fromEntries(stored) }
}
