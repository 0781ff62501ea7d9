import { fail } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { blockTypes } from './blocks.ts'
import { type GgufHead, readGgufHead } from './file.ts'
import { fileTypes } from './file-types.ts'
import { withoutLists } from './layers.ts'

/** Elements and bytes of a block of ggml's element types, by number (ggml.h and ggml-common.h of llama.cpp). */
const blocks: Record<number, readonly [elements: number, bytes: number]> = {
  0: [1, 4],
  1: [1, 2],
  2: [32, 18],
  3: [32, 20],
  6: [32, 22],
  7: [32, 24],
  8: [32, 34],
  10: [256, 84],
  11: [256, 110],
  12: [256, 144],
  13: [256, 176],
  14: [256, 210],
  16: [256, 66],
  17: [256, 74],
  18: [256, 98],
  19: [256, 50],
  20: [32, 18],
  21: [256, 110],
  22: [256, 82],
  23: [256, 136],
  24: [1, 1],
  25: [1, 2],
  26: [1, 4],
  27: [1, 8],
  28: [1, 8],
  29: [256, 56],
  30: [1, 2],
  34: [256, 54],
  35: [256, 66],
  39: [32, 17],
}
const ownTypes = new Set<number>(Object.values(blockTypes).map(({ id }) => id))

/** Whether a file is of the layout, element types and kind of tokenizer that become a graph of ours. */
export function becomesGraph(bytes: Uint8Array): boolean {
  const { metadata: given, infos } = readGgufHead(bytes)
  const metadata = withoutLists(given)
  const scaled = [...metadata].some(([key, value]) => key.startsWith('llama.rope.scaling.type') && value !== 'none')
  const lists = [...metadata].some(([key, value]) => key.startsWith('llama.') && Array.isArray(value))
  return (
    metadata.get('general.architecture') === 'llama' &&
    metadata.get('tokenizer.ggml.model') === 'gpt2' &&
    !scaled &&
    !lists &&
    infos.every(({ code }) => ownTypes.has(code))
  )
}

/**
 * A GGUF file as a bundle that llama.cpp runs as it is, after its tensors were held against the file: what native code gets
 * to see lies within it. Throws FORMAT_INVALID, or UNSUPPORTED for element types whose size is not known here.
 */
export function llamaBundle(bytes: Uint8Array) {
  const head = readGgufHead(bytes)
  const parameters = checkTensors(head, bytes.byteLength)
  const metadata = withoutLists(head.metadata)
  const invalid = (reason: string) => fail('FORMAT_INVALID', { format: 'GGUF', reason })
  const architecture = metadata.get('general.architecture')
  if (typeof architecture !== 'string' || !/^[\w-]{1,40}$/.test(architecture)) throw invalid('no general.architecture')
  const size = (key: string) => {
    const value = metadata.get(`${architecture}.${key}`)
    if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value
    throw invalid(`no ${architecture}.${key}`)
  }
  // models that embed say how the vectors of a text become one
  const embeds = Number(metadata.get(`${architecture}.pooling_type`) ?? 0) > 0
  const context = size('context_length')
  const template = embeds ? undefined : metadata.get('tokenizer.chat_template')
  const quantization = fileTypes[Number(metadata.get('general.file_type'))]
  const outputs = [{ name: 'embeddings', dtype: 'float32', shape: ['batch', size('embedding_length')] }]
  const manifest = {
    task: embeds ? 'feature-extraction' : 'text-generation',
    engine: 'llama',
    family: architecture,
    signature: { inputs: [], outputs: embeds ? outputs : [] },
    labels: [],
    pipeline: {
      context,
      ...(typeof template === 'string' && { chatTemplate: template }),
      ...(quantization !== undefined && { quantization }),
    },
    parameters,
  } satisfies Partial<Manifest>
  return { manifest: manifest as typeof manifest & Pick<Manifest, 'task' | 'engine'>, files: { 'model.gguf': bytes } }
}

/** The number of elements of all tensors. */
function checkTensors({ infos, start }: GgufHead, length: number): number {
  let all = 0
  for (const { name, dims, code, offset } of infos) {
    const what = `tensor "${name.slice(0, 80)}"`
    if (!Object.hasOwn(blocks, code))
      throw fail('UNSUPPORTED', {
        what: `the element type ${code} of the GGUF ${what}`,
        instead: 'Quantize it otherwise.',
      })
    const [elements, bytes] = blocks[code]
    const count = dims.reduce((a, b) => a * b, 1)
    if (!Number.isSafeInteger(count) || dims.at(-1)! % elements !== 0)
      throw fail('FORMAT_INVALID', { format: 'GGUF', reason: `${what} has the shape [${dims}]` })
    if (start + offset + (count / elements) * bytes > length)
      throw fail('FORMAT_INVALID', { format: 'GGUF', reason: `${what} ends after the file` })
    all += count
  }
  return all
}
