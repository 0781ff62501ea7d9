import { fail } from '../../base/errors.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import { readModel } from '../../graph/codec.ts'
import { elements, type Tensor } from '../../graph/tensor.ts'
import type { EncoderConfig } from '../../nn/bert.ts'
import { type EncoderHead, encoderParameters } from '../../nn/encoders.ts'
import { floatsOf, readSafetensors } from '../safetensors.ts'
import { type PublishedConfig, readConfig } from './config.ts'
import { publishedName } from './names.ts'
import { onnxWeights } from './onnx.ts'

/** The files of a folder by their paths in it, e.g. `1_Pooling/config.json`. */
export type Folder = ReadonlyMap<string, () => Promise<Uint8Array>>

/** A published encoder: what it is, its weights by our paths, and its tokenizer. */
export interface PublishedEncoder {
  readonly config: EncoderConfig
  readonly head: EncoderHead
  readonly labels: string[]
  readonly weights: Record<string, { dims: readonly number[]; data: Float32Array }>
  readonly tokenizerJson: string
  /** Files that other libraries want beside these, as they came. */
  readonly companions: Record<string, string>
  /** Most tokens of a text. */
  readonly maxLength: number
}

/** All files that are read of a folder; anything else in it stays unread. */
export const folderFiles = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'model.safetensors',
  'pytorch_model.bin',
  'onnx/model.onnx',
  'modules.json',
  '1_Pooling/config.json',
  'sentence_bert_config.json',
] as const

const companions = ['tokenizer_config.json', 'special_tokens_map.json']
const JSON_LIMIT = 64 << 20

const invalid = (reason: string) => fail('FORMAT_INVALID', { format: 'Hugging Face', reason })

/**
 * Reads the folder of a published encoder (BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT; MiniLM and
 * sentence-transformers of these). Throws FORMAT_INVALID for what is missing or does not fit, UNSUPPORTED for other models
 * and for pickled weights.
 */
export async function readFolder(folder: Folder): Promise<PublishedEncoder> {
  const given = readConfig(await json(folder, 'config.json'))
  const { config } = given
  const tokenizerJson = await text(folder, 'tokenizer.json')
  const maxLength = await lengthOf(folder, config)
  const tokenizer = new PublishedTokenizer(tokenizerJson, { maxLength })
  const head = ofPairs(await headOf(folder, given), config, tokenizer)
  const { size } = tokenizer
  if (size > config.vocabulary)
    throw invalid(`tokenizer.json has ${size} tokens, the model's vocabulary ${config.vocabulary}`)
  const weights = take(await tensorsOf(folder, config, head), config, head)
  const others = await Promise.all(
    companions.filter((name) => folder.has(name)).map(async (name) => [name, await text(folder, name)] as const),
  )
  return {
    config,
    head,
    labels: given.labels,
    weights,
    tokenizerJson,
    companions: Object.fromEntries(others),
    maxLength,
  }
}

async function text(folder: Folder, name: string): Promise<string> {
  const read = folder.get(name)
  if (!read)
    throw invalid(
      `there is no ${name}${name === 'tokenizer.json' ? '; save it with AutoTokenizer.from_pretrained(…).save_pretrained(…)' : ''}`,
    )
  const bytes = await read()
  if (bytes.byteLength > JSON_LIMIT) throw invalid(`${name} is over ${JSON_LIMIT >> 20} MiB`)
  return new TextDecoder().decode(bytes)
}

async function json(folder: Folder, name: string): Promise<unknown> {
  try {
    return JSON.parse(await text(folder, name))
  } catch (error) {
    if (error instanceof SyntaxError) throw invalid(`${name} is not JSON`)
    throw error
  }
}

/** The head of the published class; sentence-transformers say in files of their own how they pool. */
async function headOf(folder: Folder, { task, labels }: PublishedConfig): Promise<EncoderHead> {
  if (task === 'text-classification' || task === 'token-classification') return { task, classes: labels.length }
  if (!folder.has('modules.json')) return task === 'fill-mask' ? { task } : { task, pooling: 'mean', unit: true }
  const modules = (await json(folder, 'modules.json')) as { type?: string }[]
  const types = Array.isArray(modules) ? modules.map(({ type }) => String(type).split('.').at(-1)!) : []
  const unknown = types.filter((type) => !['Transformer', 'Pooling', 'Normalize'].includes(type))
  if (unknown.length > 0 || types.length === 0) {
    const what = `the sentence-transformers module ${unknown[0]?.slice(0, 60) ?? 'list'}`
    throw fail('UNSUPPORTED', { what, instead: 'Transformer, Pooling and Normalize are.' })
  }
  const pooling = folder.has('1_Pooling/config.json')
    ? ((await json(folder, '1_Pooling/config.json')) as Record<string, unknown>)
    : { pooling_mode_mean_tokens: true }
  const modes = Object.entries(pooling).flatMap(([key, on]) =>
    key.startsWith('pooling_mode_') && on === true ? [key] : [],
  )
  const known = { pooling_mode_mean_tokens: 'mean', pooling_mode_cls_token: 'cls' } as const
  const mode = modes.length === 1 && Object.hasOwn(known, modes[0]) ? known[modes[0] as keyof typeof known] : undefined
  if (!mode)
    throw fail('UNSUPPORTED', {
      what: `pooling by ${modes.join(' and ') || 'nothing'}`,
      instead: 'The mean of tokens and the first token are.',
    })
  return { task: 'feature-extraction', pooling: mode, unit: types.includes('Normalize') }
}

/** A head of one label judges pairs; where the second text has a type of its own, the token that ends the first is known. */
function ofPairs(head: EncoderHead, { types }: EncoderConfig, { separator }: PublishedTokenizer): EncoderHead {
  if (head.task !== 'text-classification' || head.classes > 1 || types < 2) return head
  if (separator === undefined) throw invalid('tokenizer.json has no [SEP], which ends the first text of a pair')
  return { ...head, separator }
}

/** The least of what the tokenizer, sentence-transformers and the table of positions allow. */
async function lengthOf(folder: Folder, { positions, firstPosition }: EncoderConfig): Promise<number> {
  const limits = [positions - firstPosition]
  for (const [file, key] of [
    ['tokenizer_config.json', 'model_max_length'],
    ['sentence_bert_config.json', 'max_seq_length'],
  ] as const) {
    const value = folder.has(file) && ((await json(folder, file)) as Record<string, unknown> | null)?.[key]
    if (typeof value === 'number' && value >= 4) limits.push(value)
  }
  return Math.floor(Math.min(...limits))
}

async function tensorsOf(folder: Folder, config: EncoderConfig, head: EncoderHead): Promise<Map<string, Tensor>> {
  const safetensors = folder.get('model.safetensors')
  if (safetensors) {
    const bytes = await safetensors()
    refusePickle(bytes, 'model.safetensors')
    return readSafetensors(bytes).tensors
  }
  const onnx = folder.get('onnx/model.onnx')
  if (onnx) {
    const bytes = await onnx()
    refusePickle(bytes, 'onnx/model.onnx')
    return onnxWeights(readModel(bytes), config, head)
  }
  const pickle = folder.get('pytorch_model.bin')
  if (pickle) {
    const bytes = await pickle()
    refusePickle(bytes, 'pytorch_model.bin')
    throw invalid('pytorch_model.bin is neither a pickle nor safetensors')
  }
  throw invalid('it has neither model.safetensors nor onnx/model.onnx')
}

/** Pickles run code when they are read: they are told by their content (a zip archive, or protocol 2 to 5) and left unread. */
function refusePickle(bytes: Uint8Array, name: string) {
  const zip = bytes[0] === 0x50 && bytes[1] === 0x4b
  const pickle = bytes[0] === 0x80 && bytes[1] >= 2 && bytes[1] <= 5
  if (zip || pickle)
    throw fail('UNSUPPORTED', {
      what: `${name}, a PyTorch pickle, which runs code when it is read,`,
      instead:
        'Convert it where you trust it: AutoModel.from_pretrained(…).save_pretrained(…, safe_serialization=True)',
    })
}

/** The weights that the encoder with its head needs, by our paths; throws FORMAT_INVALID naming the first that is missing. */
function take(tensors: Map<string, Tensor>, config: EncoderConfig, head: EncoderHead): PublishedEncoder['weights'] {
  const { layout } = config
  const bare = !tensors.has(`${layout}.embeddings.word_embeddings.weight`)
  const find = (path: string): [string, Tensor | undefined] => {
    const name = publishedName(path, layout, head.task, bare)
    // before 2019 they were called gamma and beta
    const old = name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
    return [name, tensors.get(name) ?? tensors.get(old)]
  }
  const weights: PublishedEncoder['weights'] = {}
  for (const { name: path, dims } of encoderParameters(config, head)) {
    const [name, tensor] = find(path)
    if (!tensor) throw invalid(`the tensor ${name} is missing`)
    if (elements(tensor.dims) !== elements(dims) || tensor.dims.some((dim, i) => dim !== dims[i]))
      throw invalid(`the tensor ${name} is of shape [${tensor.dims}], not [${dims}]`)
    weights[path] = { dims, data: floatsOf(tensor, name) }
  }
  // what a classifier starts from, where the body brings it along
  const pooler = ['pooler/weight', 'pooler/bias'].map((path) => [path, find(path)[1]] as const)
  if (layout === 'bert' && pooler.every(([, tensor]) => tensor))
    for (const [path, tensor] of pooler) weights[path] ??= { dims: tensor!.dims, data: floatsOf(tensor!, path) }
  return weights
}
