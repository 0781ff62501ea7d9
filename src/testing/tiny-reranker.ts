import type { Manifest } from '../bundle/manifest.ts'
import { bundleEncoder } from '../formats/huggingface/bundle.ts'
import type { PublishedEncoder } from '../formats/huggingface/folder.ts'
import { plainManifest } from './manifest.ts'
import { tinyEncoder } from './tiny-encoder.ts'

const texts = ['the quick brown fox jumps over the lazy dog', '今天天气很好']

/** A model that scores pairs, with made-up weights, as if someone had published it; 16 tokens of a pair are kept. */
export function tinyReranker(layout: 'bert' | 'roberta'): PublishedEncoder {
  const bert = layout === 'bert'
  const head = { task: 'text-classification', classes: 1, ...(bert && { separator: 3 }) } as const
  const encoder = { ...tinyEncoder(texts, head, { layout, labels: ['LABEL_0'] }), maxLength: 16 }
  return bert ? encoder : { ...encoder, tokenizerJson: untyped(encoder.tokenizerJson) }
}

/** The frame of RoBERTa's kind: two separators between texts, all of one type. */
function untyped(tokenizerJson: string): string {
  const file = JSON.parse(tokenizerJson) as { post_processor: { pair: unknown } }
  const token = (id: string) => ({ SpecialToken: { id, type_id: 0 } })
  const text = (id: string) => ({ Sequence: { id, type_id: 0 } })
  file.post_processor.pair = [token('[CLS]'), text('A'), token('[SEP]'), token('[SEP]'), text('B'), token('[SEP]')]
  return JSON.stringify(file)
}

/** The same as a bundle that can be registered. */
export function tinyRerankerBundle(layout: 'bert' | 'roberta') {
  const { manifest, files } = bundleEncoder(tinyReranker(layout))
  const whole: Manifest = { ...plainManifest, ...manifest }
  const stored = Object.entries(files).map(([name, content]) => [name, Buffer.from(content)] as const)
  return { manifest: whole, files: Object.fromEntries(stored) }
}
