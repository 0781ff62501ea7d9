import { writeModel } from '../../graph/codec.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { float32 } from '../../graph/tensor.ts'
import { encoderParameters, portableModel } from '../../nn/encoders.ts'
import { writeSafetensors } from '../safetensors.ts'
import { withWholeHeads } from '../whole-heads.ts'
import { writeConfig } from './config.ts'
import type { PublishedEncoder } from './folder.ts'
import { publishedName } from './names.ts'

/**
 * The files of a folder that transformers, sentence-transformers and transformers.js load an encoder from, by their paths in
 * it: weights once as safetensors and once in an ONNX graph, which is what runs in browsers.
 */
export function writeFolder(encoder: PublishedEncoder): Map<string, Uint8Array | string> {
  const { config, head, labels, weights, tokenizerJson, companions, maxLength } = withWholeHeads(encoder)
  const { task } = head
  const bare = task === 'feature-extraction'
  const nameOf = (path: string) => publishedName(path, config.layout, task, bare)
  const written = encoderParameters(config, head).map(({ name }) => name)
  if (bare)
    written.push(...Object.keys(weights).filter((name) => name.startsWith('pooler/') && config.layout === 'bert'))
  const tensors = written.map((path) => {
    const { dims, data } = weights[path]
    return [nameOf(path), float32(dims, data)] as const
  })
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
  const files = new Map<string, Uint8Array | string>([
    ['config.json', json(writeConfig({ config, task, labels }))],
    ['tokenizer.json', unpadded(tokenizerJson)],
    [
      'tokenizer_config.json',
      json({
        ...specialTokens(tokenizerJson),
        // transformers leaves types out of what it makes of pairs unless told
        ...('separator' in head && { model_input_names: ['input_ids', 'token_type_ids', 'attention_mask'] }),
        ...parsed(companions['tokenizer_config.json']),
        model_max_length: maxLength,
      }),
    ],
    ['model.safetensors', writeSafetensors(tensors, { format: 'pt' })],
    ['onnx/model.onnx', writeModel(renamed(portableModel(config, head, weights), nameOf))],
  ])
  const map = companions['special_tokens_map.json']
  if (map !== undefined) files.set('special_tokens_map.json', map)
  if (head.task === 'feature-extraction') {
    const module = (idx: number, path: string, type: string) => ({
      idx,
      name: String(idx),
      path,
      type: `sentence_transformers.models.${type}`,
    })
    files.set(
      'modules.json',
      json([
        module(0, '', 'Transformer'),
        module(1, '1_Pooling', 'Pooling'),
        ...(head.unit ? [module(2, '2_Normalize', 'Normalize')] : []),
      ]),
    )
    files.set(
      '1_Pooling/config.json',
      json({
        word_embedding_dimension: config.width,
        pooling_mode_cls_token: head.pooling === 'cls',
        pooling_mode_mean_tokens: head.pooling === 'mean',
      }),
    )
    files.set('sentence_bert_config.json', json({ max_seq_length: maxLength, do_lower_case: false }))
  }
  return files
}

/** Lengths belong to whoever uses the tokenizer. */
const unpadded = (tokenizerJson: string) =>
  JSON.stringify({ ...(JSON.parse(tokenizerJson) as object), truncation: null, padding: null })

/** What a tokenizer's class is told of special tokens, from how they are usually written. */
function specialTokens(tokenizerJson: string): Record<string, string> {
  const { added_tokens: added = [] } = JSON.parse(tokenizerJson) as { added_tokens?: { content: string }[] }
  const present = new Set(added.map(({ content }) => content))
  const roles = {
    pad_token: ['[PAD]', '<pad>'],
    unk_token: ['[UNK]', '<unk>'],
    cls_token: ['[CLS]', '<s>'],
    sep_token: ['[SEP]', '</s>'],
    mask_token: ['[MASK]', '<mask>'],
  }
  const found = Object.entries(roles).flatMap(([role, names]) => {
    const name = names.find((one) => present.has(one))
    return name === undefined ? [] : [[role, name] as const]
  })
  return { tokenizer_class: 'PreTrainedTokenizerFast', ...Object.fromEntries(found) }
}

const parsed = (text: string | undefined) => (text === undefined ? {} : (JSON.parse(text) as Record<string, unknown>))

/** The graph with its weights under other names. */
function renamed(model: ModelProto, nameOf: (path: string) => string): ModelProto {
  const { graph } = model
  const names = new Map(
    graph!.initializer.flatMap(({ name }) =>
      /\/(weight|bias|scale)$/.test(name) ? [[name, nameOf(name)] as const] : [],
    ),
  )
  for (const tensor of graph!.initializer) tensor.name = names.get(tensor.name) ?? tensor.name
  for (const node of graph!.node) node.input = node.input.map((name) => names.get(name) ?? name)
  return model
}
