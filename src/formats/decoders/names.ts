import type { DecoderConfig } from '../../nn/decoder.ts'

/** A weight's name in Hugging Face's layout, and whether it is stored transposed there (GPT-2's Conv1D). */
export interface PublishedName {
  readonly name: string
  readonly turned: boolean
}

const gptParts: Record<string, string> = {
  'attention/scale': 'ln_1.weight',
  'attention/bias': 'ln_1.bias',
  'attention/in': 'attn.c_attn',
  'attention/out': 'attn.c_proj',
  'feedForward/scale': 'ln_2.weight',
  'feedForward/bias': 'ln_2.bias',
  'feedForward/in': 'mlp.c_fc',
  'feedForward/out': 'mlp.c_proj',
}
const llamaParts: Record<string, string> = {
  'attention/scale': 'input_layernorm.weight',
  'attention/query': 'self_attn.q_proj',
  'attention/key': 'self_attn.k_proj',
  'attention/value': 'self_attn.v_proj',
  'attention/out': 'self_attn.o_proj',
  'feedForward/scale': 'post_attention_layernorm.weight',
  'feedForward/gate': 'mlp.gate_proj',
  'feedForward/up': 'mlp.up_proj',
  'feedForward/down': 'mlp.down_proj',
}
const whole: Record<DecoderConfig['layout'], Record<string, string>> = {
  gpt: {
    'embedding/weight': 'transformer.wte.weight',
    'positions/weight': 'transformer.wpe.weight',
    'last/scale': 'transformer.ln_f.weight',
    'last/bias': 'transformer.ln_f.bias',
    'head/weight': 'lm_head.weight',
  },
  llama: {
    'embedding/weight': 'model.embed_tokens.weight',
    'last/scale': 'model.norm.weight',
    'head/weight': 'lm_head.weight',
  },
}

/** `layer.3/attention/in/weight` of a gpt → `transformer.h.3.attn.c_attn.weight`, turned. */
export function publishedDecoderName(path: string, layout: DecoderConfig['layout']): PublishedName {
  const known = whole[layout][path]
  if (known) return { name: known, turned: false }
  const [, layer, part] = /^layer\.(\d+)\/(.+)$/.exec(path)!
  const parts = layout === 'gpt' ? gptParts : llamaParts
  const before = layout === 'gpt' ? `transformer.h.${layer}.` : `model.layers.${layer}.`
  if (parts[part]) return { name: before + parts[part], turned: false }
  const [, owner, kind] = /^(.+)\/(weight|bias)$/.exec(part)!
  return { name: `${before}${parts[owner]}.${kind}`, turned: layout === 'gpt' && kind === 'weight' }
}

/** A matrix (rows, columns) as (columns, rows). */
export function turned(data: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(data.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c]
  return result
}
