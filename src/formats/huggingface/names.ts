import type { EncoderConfig } from '../../nn/bert.ts'

type Layout = EncoderConfig['layout']

/** The parts of an encoder and what Hugging Face's libraries call them; `{i}` is a layer. */
const bodies: Record<Layout, Record<string, string>> = {
  bert: {
    'embeddings/words': 'embeddings.word_embeddings',
    'embeddings/positions': 'embeddings.position_embeddings',
    'embeddings/types': 'embeddings.token_type_embeddings',
    'embeddings/norm': 'embeddings.LayerNorm',
    'layer.{i}/attention/query': 'encoder.layer.{i}.attention.self.query',
    'layer.{i}/attention/key': 'encoder.layer.{i}.attention.self.key',
    'layer.{i}/attention/value': 'encoder.layer.{i}.attention.self.value',
    'layer.{i}/attention/output': 'encoder.layer.{i}.attention.output.dense',
    'layer.{i}/attention/norm': 'encoder.layer.{i}.attention.output.LayerNorm',
    'layer.{i}/feedForward/up': 'encoder.layer.{i}.intermediate.dense',
    'layer.{i}/feedForward/down': 'encoder.layer.{i}.output.dense',
    'layer.{i}/feedForward/norm': 'encoder.layer.{i}.output.LayerNorm',
    pooler: 'pooler.dense',
  },
  get roberta() {
    const { pooler: _, ...body } = this.bert
    return body
  },
  distilbert: {
    'embeddings/words': 'embeddings.word_embeddings',
    'embeddings/positions': 'embeddings.position_embeddings',
    'embeddings/norm': 'embeddings.LayerNorm',
    'layer.{i}/attention/query': 'transformer.layer.{i}.attention.q_lin',
    'layer.{i}/attention/key': 'transformer.layer.{i}.attention.k_lin',
    'layer.{i}/attention/value': 'transformer.layer.{i}.attention.v_lin',
    'layer.{i}/attention/output': 'transformer.layer.{i}.attention.out_lin',
    'layer.{i}/attention/norm': 'transformer.layer.{i}.sa_layer_norm',
    'layer.{i}/feedForward/up': 'transformer.layer.{i}.ffn.lin1',
    'layer.{i}/feedForward/down': 'transformer.layer.{i}.ffn.lin2',
    'layer.{i}/feedForward/norm': 'transformer.layer.{i}.output_layer_norm',
  },
}

/** The heads, which stand beside the body. A classifier of texts and one of tokens may be called differently. */
const heads: Record<Layout, Record<string, string>> = {
  bert: {
    classifier: 'classifier',
    'masked/transform': 'cls.predictions.transform.dense',
    'masked/norm': 'cls.predictions.transform.LayerNorm',
    masked: 'cls.predictions',
  },
  roberta: {
    pooler: 'classifier.dense',
    classifier: 'classifier.out_proj',
    'masked/transform': 'lm_head.dense',
    'masked/norm': 'lm_head.layer_norm',
    masked: 'lm_head',
  },
  distilbert: {
    pooler: 'pre_classifier',
    classifier: 'classifier',
    'masked/transform': 'vocab_transform',
    'masked/norm': 'vocab_layer_norm',
    masked: 'vocab_projector',
  },
}

/** What Hugging Face's libraries call a parameter; `bare` for a body without a head, whose names have no prefix. */
export function publishedName(path: string, layout: Layout, task: string, bare = false): string {
  const at = path.lastIndexOf('/')
  const [part, last] = [path.slice(0, at), path.slice(at + 1)]
  const suffix = last === 'scale' ? 'weight' : last
  const layer = /^layer\.(\d+)\//.exec(part)?.[1]
  const name = bodies[layout][part.replace(/^layer\.\d+/, 'layer.{i}')]?.replace('{i}', layer ?? '')
  if (name !== undefined) return `${bare ? '' : `${layout}.`}${name}.${suffix}`
  if (part === 'classifier' && task === 'token-classification') return `classifier.${suffix}`
  return `${heads[layout][part]}.${suffix}`
}
