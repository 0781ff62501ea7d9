import { Check, Errors } from 'typebox/value'
import { fail } from '../../base/errors.ts'
import { type Static, Type } from '../../base/schema.ts'
import type { EncoderConfig } from '../../nn/bert.ts'

/** `model_type` of config.json and the layout it has. CamemBERT and XLM-RoBERTa are RoBERTa with other words. */
const layouts = {
  bert: 'bert',
  roberta: 'roberta',
  'xlm-roberta': 'roberta',
  camembert: 'roberta',
  distilbert: 'distilbert',
} as const satisfies Record<string, EncoderConfig['layout']>

const activations: Record<string, EncoderConfig['activation']> = {
  gelu: 'gelu',
  gelu_new: 'gelu_tanh',
  gelu_pytorch_tanh: 'gelu_tanh',
  relu: 'relu',
}

/** What a published class of model is for. */
const architectures: Record<string, HeadTask> = {
  Model: 'feature-extraction',
  ForMaskedLM: 'fill-mask',
  ForPreTraining: 'fill-mask',
  ForSequenceClassification: 'text-classification',
  ForTokenClassification: 'token-classification',
}
type HeadTask = 'feature-extraction' | 'fill-mask' | 'text-classification' | 'token-classification'

const Size = Type.Integer({ minimum: 1, maximum: 2 ** 24 })
const Optional = Type.Optional
const ConfigFile = Type.Object({
  model_type: Type.String(),
  architectures: Optional(Type.Union([Type.Array(Type.String()), Type.Null()])),
  vocab_size: Size,
  max_position_embeddings: Size,
  hidden_size: Optional(Size),
  num_hidden_layers: Optional(Size),
  num_attention_heads: Optional(Size),
  intermediate_size: Optional(Size),
  hidden_act: Optional(Type.String()),
  layer_norm_eps: Optional(Type.Number({ minimum: 0, maximum: 1 })),
  type_vocab_size: Optional(Type.Integer({ minimum: 0, maximum: 4096 })),
  pad_token_id: Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()])),
  position_embedding_type: Optional(Type.String()),
  is_decoder: Optional(Type.Boolean()),
  tie_word_embeddings: Optional(Type.Boolean()),
  problem_type: Optional(Type.Union([Type.String(), Type.Null()])),
  id2label: Optional(Type.Union([Type.Record(Type.String(), Type.String()), Type.Null()])),
  dim: Optional(Size),
  n_layers: Optional(Size),
  n_heads: Optional(Size),
  hidden_dim: Optional(Size),
  activation: Optional(Type.String()),
})
type ConfigFile = Static<typeof ConfigFile>

export interface PublishedConfig {
  readonly config: EncoderConfig
  readonly task: HeadTask
  /** Of a classifier, by class. */
  readonly labels: string[]
}

const invalid = (reason: string) => fail('FORMAT_INVALID', { format: 'Hugging Face', reason })

/** Reads config.json; throws FORMAT_INVALID, or UNSUPPORTED for models that are no encoders of these kinds. */
export function readConfig(json: unknown): PublishedConfig {
  const type = (json as Partial<ConfigFile> | null)?.model_type
  if (typeof type === 'string' && !Object.hasOwn(layouts, type))
    throw fail('UNSUPPORTED', {
      what: `the model type "${type.slice(0, 60)}"`,
      instead: `Folders of these are read: ${Object.keys(layouts).join(', ')}. Others: export to ONNX and import that file.`,
    })
  if (!Check(ConfigFile, json)) {
    const [first] = Errors(ConfigFile, json)
    throw invalid(`config.json${first?.instancePath ?? ''}: ${first?.message ?? 'not as expected'}`)
  }
  const layout = layouts[json.model_type as keyof typeof layouts]
  const config = sizesOf(json, layout)
  if (config.width % config.heads !== 0) throw invalid(`${config.heads} heads do not divide ${config.width}`)
  if (json.position_embedding_type !== undefined && json.position_embedding_type !== 'absolute')
    throw unsupported(`positions of the kind "${json.position_embedding_type.slice(0, 60)}"`)
  if (json.is_decoder) throw unsupported('an encoder turned into a decoder')
  const task = taskOf(json)
  if (task === 'fill-mask' && json.tie_word_embeddings === false)
    throw unsupported('a masked-word head with a table of its own')
  const labels = task.endsWith('classification') ? labelsOf(json) : []
  if (task === 'text-classification' && (json.problem_type === 'regression' || labels.length < 1))
    throw unsupported('a head that gives one number')
  if (json.problem_type === 'multi_label_classification') throw unsupported('a head of several labels at once')
  return { config, task, labels }
}

const unsupported = (what: string) =>
  fail('UNSUPPORTED', { what, instead: 'Export the model to ONNX and import that file: athanor import model.onnx' })

function sizesOf(json: ConfigFile, layout: EncoderConfig['layout']): EncoderConfig {
  const distil = layout === 'distilbert'
  const name = (distil ? json.activation : json.hidden_act) ?? 'gelu'
  if (!Object.hasOwn(activations, name)) throw unsupported(`the activation "${name.slice(0, 60)}"`)
  const need = (ours: keyof ConfigFile, theirs: keyof ConfigFile): number => {
    const key = distil ? theirs : ours
    const value = json[key]
    if (typeof value !== 'number') throw invalid(`config.json has no ${key}`)
    return value
  }
  const padding = json.pad_token_id ?? (layout === 'roberta' ? 1 : 0)
  return {
    layout,
    vocabulary: json.vocab_size,
    width: need('hidden_size', 'dim'),
    layers: need('num_hidden_layers', 'n_layers'),
    heads: need('num_attention_heads', 'n_heads'),
    inner: need('intermediate_size', 'hidden_dim'),
    positions: json.max_position_embeddings,
    firstPosition: layout === 'roberta' ? padding + 1 : 0, // counted from the padding's own row on
    types: distil ? 0 : (json.type_vocab_size ?? 2),
    activation: activations[name],
    epsilon: distil ? 1e-12 : (json.layer_norm_eps ?? 1e-12),
    padding,
  }
}

function taskOf({ architectures: given }: ConfigFile): HeadTask {
  const name = given?.[0]
  if (name === undefined) return 'feature-extraction'
  const ending = /(ForMaskedLM|ForPreTraining|ForSequenceClassification|ForTokenClassification|Model)$/.exec(name)?.[1]
  if (ending === undefined) throw unsupported(`the architecture "${name.slice(0, 80)}"`)
  return architectures[ending]
}

function labelsOf({ id2label }: ConfigFile): string[] {
  const given = Object.entries(id2label ?? { 0: 'LABEL_0', 1: 'LABEL_1' })
  const labels: string[] = []
  for (const [id, label] of given) if (/^\d{1,6}$/.test(id)) labels[Number(id)] = label
  if (labels.length !== given.length || labels.includes(undefined as unknown as string))
    throw invalid('config.json/id2label does not number its labels from 0')
  return labels
}

/** The file that transformers reads the same model from. */
export function writeConfig({ config, task, labels }: PublishedConfig): Record<string, unknown> {
  const { layout, vocabulary, width, layers, heads, inner, positions, types, activation, epsilon, padding } = config
  const act = { gelu: 'gelu', gelu_tanh: 'gelu_new', relu: 'relu' }[activation]
  const class_ = { bert: 'Bert', roberta: 'Roberta', distilbert: 'DistilBert' }[layout]
  const ending = {
    'feature-extraction': 'Model',
    'fill-mask': 'ForMaskedLM',
    'text-classification': 'ForSequenceClassification',
    'token-classification': 'ForTokenClassification',
  }[task]
  const sizes =
    layout === 'distilbert'
      ? { dim: width, n_layers: layers, n_heads: heads, hidden_dim: inner, activation: act }
      : {
          hidden_size: width,
          num_hidden_layers: layers,
          num_attention_heads: heads,
          intermediate_size: inner,
          hidden_act: act,
          layer_norm_eps: epsilon,
          type_vocab_size: types,
        }
  return {
    model_type: layout,
    architectures: [class_ + ending],
    vocab_size: vocabulary,
    max_position_embeddings: positions,
    ...sizes,
    pad_token_id: padding,
    ...(labels.length > 0 && {
      id2label: Object.fromEntries(labels.entries()),
      label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
    }),
    torch_dtype: 'float32',
  }
}
