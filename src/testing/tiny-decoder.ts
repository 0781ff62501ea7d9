import type { Manifest } from '../bundle/manifest.ts'
import { byteAlphabet } from '../data/codec.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import { int64 } from '../graph/tensor.ts'
import { plainManifest } from './manifest.ts'

const END = 256
/** Letters that the tiny decoder writes: the bytes of these characters, over and over. */
const ALPHABET = Buffer.from('abcdefghij你好')

/** What the tiny decoder writes after a prompt: each byte is chosen by the sum of all before it. */
export function tinyContinuation(prompt: string, count: number): string {
  const bytes = [...Buffer.from(prompt)]
  for (let i = 0; i < count; i++)
    bytes.push(ALPHABET[(bytes.reduce((a, b) => a + b, 0) + bytes.length) % ALPHABET.length])
  return Buffer.from(bytes).subarray(Buffer.byteLength(prompt)).toString('utf8')
}

/**
 * A decoder over bytes whose every score depends on every token before it, through its cache and mask alone: what it
 * writes is wrong as soon as a row reads another's, or padding. `slow` makes each step take about that many products;
 * `letters` are what it writes.
 */
export function tinyDecoder({ context = 4096, slow = 0, chatTemplate = '', letters = ALPHABET } = {}) {
  const g = new GraphBuilder()
  const ids = g.input('input_ids', 'int64', ['batch', 'sequence'])
  const mask = g.input('attention_mask', 'int64', ['batch', 'total'])
  const past = g.input('past_key_values.0.key', 'float32', ['batch', 1, 'past', 1])
  const read = o.unsqueeze(o.cast(ids, 'float32'), [1, 3]) // (batch, 1, sequence, 1)
  const present = g.node('Concat', [past, read], { axis: 2 }, ['present.0.key'])[0]
  const all = o.squeeze(present, [1, 3]) // (batch, total)
  const counted = o.mul(o.add(all, 1), o.cast(mask, 'float32'))
  const sum = o.cast(o.reduceSum(counted, [1]), 'int64') // (batch)
  const letter = o.gather(
    o.constant(ids, int64([letters.length], [...letters])),
    o.mod(sum, o.scalarLike(sum, letters.length)),
  )
  const values = g.constant({ dtype: 'float32', dims: [2], data: Float32Array.of(0, 20) })
  const logits = o.oneHot(letter, o.constant(ids, int64([], [END + 1])), values) // (batch, vocabulary)
  let extra = o.reduceSum(o.mul(logits, 0), [1], true)
  if (slow > 0) {
    const big = g.constant({ dtype: 'float32', dims: [slow, slow], data: new Float32Array(slow * slow) })
    extra = o.add(extra, o.reduceSum(o.matMul(big, o.add(big, o.reduceSum(logits)))))
  }
  g.output(o.unsqueeze(o.add(logits, extra), [1]), 'logits')
  g.output(present, 'present.0.key')
  const model = g.build('tiny')
  const manifest: Manifest = {
    ...plainManifest,
    task: 'text-generation',
    family: 'tiny',
    signature: signatureOf(model),
    labels: [],
    pipeline: { context, end: [END], start: 32, never: [END], ...(chatTemplate && { chatTemplate }) },
    parameters: 0,
  }
  const added = { id: END, content: '<|endoftext|>', special: true, normalized: false }
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [{ ...added, single_word: false, lstrip: false, rstrip: false }],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries([...byteAlphabet.entries()].map(([byte, character]) => [character, byte])),
      merges: [],
    },
  }
  return {
    manifest,
    files: { 'model.onnx': writeModel(model), 'tokenizer.json': Buffer.from(JSON.stringify(tokenizer)) },
  }
}
