import { fail } from '../base/errors.ts'
import { intOf } from '../graph/attributes.ts'
import { Edit } from '../graph/edit.ts'
import type { ModelProto, NodeProto } from '../graph/gen/onnx_pb.js'
import { elements, tensor } from '../graph/tensor.ts'
import type { Option } from '../train/options.ts'
import { pipelineOf } from './inputs.ts'
import { type Pass, plain } from './pass.ts'
import { type Subject, withModel, withoutCard } from './subject.ts'

/** The parts of Hugging Face's tokenizer.json that trimming changes. */
interface TokenizerFile {
  model: {
    type?: string
    vocab: Record<string, number>
    merges?: ([string, string] | string)[]
    unk_token?: string | null
  }
  added_tokens?: { id: number; content: string }[]
}

const options = {
  minimumCount: {
    type: 'integer',
    default: 1,
    minimum: 1,
    maximum: 1_000_000,
    description: 'occurrences in the kept rows that a token needs to stay',
  },
} as const satisfies Record<string, Option>

/** Takes tokens that the data never uses out of the tokenizer and the embedding table together. */
export const trim: Pass = {
  description: 'keep only the tokens that the data uses, in tokenizer and embedding table together',
  options,
  wantsFloats: true,
  apply: plain(async (subject, { minimumCount }, { heldIn }) => {
    if (subject.manifest.task !== 'text-classification' || heldIn.length === 0) {
      throw fail('UNSUPPORTED', {
        what: 'trimming the vocabulary of a model without rows of text',
        instead: 'Classifiers of texts can be trimmed; give the training data as well where they keep no rows.',
      })
    }
    const counts = await countTokens(
      subject,
      heldIn.map(({ text }) => text),
    )
    const json = JSON.parse(Buffer.from(subject.files['tokenizer.json']).toString('utf8')) as TokenizerFile
    const size = Math.max(...Object.values(json.model.vocab)) + 1
    const kept = keptTokens(json, (id) => (counts.get(id) ?? 0) >= Number(minimumCount))
    const ids = [...kept].sort((a, b) => a - b)
    const model = trimTable(subject.model, size, ids)
    const tokenizer = Buffer.from(JSON.stringify(trimTokenizer(json, ids)))
    const pipeline = { ...subject.manifest.pipeline, vocabulary: ids.length }
    const manifest = {
      ...subject.manifest,
      pipeline,
      parameters: subject.manifest.parameters - numbersIn(subject.model) + numbersIn(model),
    }
    const trimmed = { ...subject, manifest, files: { ...subject.files, 'tokenizer.json': tokenizer } }
    return { subject: withModel(withoutCard(trimmed), model), note: `${ids.length} of ${size} tokens kept` }
  }),
}

async function countTokens(subject: Subject, texts: readonly string[]): Promise<Map<number, number>> {
  const counts = new Map<number, number>()
  for (const ids of await pipelineOf(subject).encode(texts)) {
    for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  return counts
}

/** Ids that stay: special ones, used ones, and those that used ones are made of. Throws UNSUPPORTED for other tokenizers. */
function keptTokens({ model, added_tokens = [] }: TokenizerFile, used: (id: number) => boolean): Set<number> {
  const { vocab, merges, unk_token } = model
  const kept = new Set(added_tokens.map(({ id }) => id))
  if (unk_token && vocab[unk_token] !== undefined) kept.add(vocab[unk_token])
  kept.add(0) // padding; graphs count on it
  for (const id of Object.values(vocab)) if (used(id)) kept.add(id)
  const type = model.type ?? (merges ? 'BPE' : 'WordLevel')
  if (type === 'WordLevel') return kept
  if (type === 'WordPiece') {
    for (const [token, id] of Object.entries(vocab)) if ([...token.replace(/^##/, '')].length === 1) kept.add(id)
    return kept
  }
  if (type !== 'BPE') {
    throw fail('UNSUPPORTED', {
      what: `trimming a ${type} tokenizer`,
      instead: 'WordLevel, WordPiece and BPE tokenizers can be trimmed.',
    })
  }
  for (const [token, id] of Object.entries(vocab)) if ([...token].length === 1) kept.add(id)
  // a token needs the two that merge to it, and so on down to single characters; later merges are of longer tokens
  for (const merge of (merges ?? []).toReversed()) {
    const [left, right] = pair(merge)
    if (kept.has(vocab[left + right])) kept.add(vocab[left]).add(vocab[right])
  }
  return kept
}

const pair = (merge: [string, string] | string): [string, string] => {
  if (typeof merge !== 'string') return merge
  const [left, right] = merge.split(' ')
  return [left, right]
}

function trimTokenizer(json: TokenizerFile, ids: readonly number[]): TokenizerFile {
  const places = new Map(ids.map((id, place) => [id, place]))
  const vocab = Object.fromEntries(
    Object.entries(json.model.vocab)
      .filter(([, id]) => places.has(id))
      .map(([token, id]) => [token, places.get(id)!] as const)
      .sort(([, a], [, b]) => a - b),
  )
  const merges = json.model.merges?.filter((merge) => {
    const [left, right] = pair(merge)
    return left in vocab && right in vocab && left + right in vocab
  })
  return {
    ...json,
    ...(json.added_tokens && {
      added_tokens: json.added_tokens.map((one) => ({ ...one, id: places.get(one.id) ?? one.id })),
    }),
    model: { ...json.model, vocab, ...(merges && { merges }) },
  }
}

/** Operators through which ids may pass on their way to the table: they move ids about and change none. */
const passing = new Set([
  'Identity',
  'Transpose',
  'Where',
  'Pad',
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Slice',
  'Cast',
  'Flatten',
])
/** Operators that may see the ids without looking at them. */
const blind = new Set(['Shape', 'Size'])

/** Keeps the rows `ids` of the table that the graph's ids are looked up in. Throws UNSUPPORTED when ids mean more than rows. */
function trimTable(model: ModelProto, size: number, ids: readonly number[]): ModelProto {
  const edit = new Edit(model)
  const input = edit.graph.input.find(({ name }) => name === 'ids' || name === 'input_ids')
  if (!input)
    throw fail('UNSUPPORTED', { what: 'trimming a graph without an input of ids', instead: 'Leave it as it is.' })
  const uses = edit.uses()
  const tables = new Set<string>()
  const follow = (name: string) => {
    for (const node of uses.get(name) ?? []) {
      if (isLookUp(node, name) && edit.dims(node.input[0])?.[0] === size) tables.add(node.input[0])
      else if (passing.has(node.opType)) follow(node.output[0])
      else if (!blind.has(node.opType)) {
        throw fail('UNSUPPORTED', {
          what: `trimming the vocabulary of this graph: its ${node.opType} computes with ids`,
          instead: 'Leave its vocabulary as it is.',
        })
      }
    }
  }
  follow(input.name)
  for (const table of tables) {
    const { dtype, dims, data } = edit.tensor(table)!
    if (uses.get(table)?.some((node) => node.opType !== 'Gather'))
      throw fail('UNSUPPORTED', {
        what: 'trimming a table that is shared with another layer',
        instead: 'Leave it as it is.',
      })
    const width = elements(dims.slice(1))
    const rows = new Float32Array(ids.length * width)
    ids.forEach((id, row) => {
      rows.set((data as Float32Array).subarray(id * width, (id + 1) * width), row * width)
    })
    edit.restore(table, tensor(dtype, [ids.length, ...dims.slice(1)], rows))
  }
  if (tables.size === 0)
    throw fail('UNSUPPORTED', { what: 'trimming a graph without a table of its tokens', instead: 'Leave it as it is.' })
  return edit.finish()
}

const isLookUp = (node: NodeProto, ids: string) =>
  node.opType === 'Gather' && node.input[1] === ids && intOf(node, 'axis', 0) === 0

const numbersIn = ({ graph }: ModelProto) =>
  graph!.initializer.reduce((sum, { dims }) => sum + elements(dims.map(Number)), 0)
