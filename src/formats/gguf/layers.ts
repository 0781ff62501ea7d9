import { fail } from '../../base/errors.ts'

/** Sizes of a Llama that a file may tell layer by layer. */
const byLayer = ['feed_forward_length', 'attention.head_count', 'attention.head_count_kv']

/**
 * The metadata of a Llama with lists of a size by layer as one size for all. Throws UNSUPPORTED where layers differ, as
 * structured pruning by layers leaves them: llama.cpp loads no such file either.
 */
export function withoutLists(metadata: ReadonlyMap<string, unknown>): Map<string, unknown> {
  const one = new Map(metadata)
  for (const size of byLayer) {
    const key = `llama.${size}`
    const value = metadata.get(key)
    if (!Array.isArray(value)) continue
    if (value.length !== metadata.get('llama.block_count'))
      throw fail('FORMAT_INVALID', { format: 'GGUF', reason: `${key} has ${value.length} layers` })
    if (value.some((other) => other !== value[0]))
      throw fail('UNSUPPORTED', {
        what: `a GGUF file of the Llama layout whose layers differ (${key})`,
        instead: 'llama.cpp loads none either. Prune all layers alike, or import the model as ONNX.',
      })
    one.set(key, value[0])
  }
  return one
}
