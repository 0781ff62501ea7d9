import { fail } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type Cache, type CacheShape, cacheTensor, emptyCache, gatherRows } from './cache.ts'

/**
 * An ONNX decoder with a key/value cache, by the names that Hugging Face's exports use: `input_ids` int64 (batch, sequence),
 * `attention_mask` int64 (batch, past + sequence), optionally `position_ids`, `past_key_values.<n>.key|value` float32
 * (batch, heads, past, size) → `logits` (batch, sequence or 1, vocabulary), `present.<n>.key|value`.
 */
export class Decoder {
  readonly #session: ort.InferenceSession
  readonly #past: readonly string[]
  readonly #shapes: readonly CacheShape[]
  readonly #positions: boolean
  runs = 0

  /** Throws BUNDLE_INVALID when the graph is no such decoder. */
  constructor(session: ort.InferenceSession, { signature }: Manifest) {
    const invalid = (reason: string) => fail('BUNDLE_INVALID', { reason: `not a decoder with a cache: ${reason}` })
    for (const name of ['input_ids', 'attention_mask'])
      if (!session.inputNames.includes(name)) throw invalid(`no input ${name}`)
    if (!session.outputNames.includes('logits')) throw invalid('no output logits')
    this.#session = session
    this.#positions = session.inputNames.includes('position_ids')
    this.#past = session.inputNames.filter((name) => name.startsWith('past_key_values.'))
    this.#shapes = this.#past.map((name) => {
      if (!session.outputNames.includes(presentOf(name))) throw invalid(`no output ${presentOf(name)}`)
      const spec = signature.inputs.find((input) => input.name === name)
      const [, heads, , size] = spec?.shape ?? []
      if (typeof heads !== 'number' || typeof size !== 'number' || spec?.dtype !== 'float32')
        throw invalid(`${name} must be float32 of known heads and size`)
      return { heads, size }
    })
  }

  /** Room for texts of the given numbers of tokens, of which nothing was read yet. */
  open(lengths: readonly number[]): Cache {
    const longest = Math.max(...lengths)
    return emptyCache(
      lengths.length,
      lengths.map((length) => longest - length),
      this.#shapes,
    )
  }

  gather(picked: readonly (readonly [Cache, number])[]): Cache {
    return gatherRows(picked, this.#shapes)
  }

  /**
   * Reads `ids` (rows, count), the next tokens of every row, and returns the scores that follow the last of them, a view
   * (rows, vocabulary), and the longer cache. Where a row has not begun (its start lies further on) ids are padding.
   */
  async read(cache: Cache, ids: BigInt64Array): Promise<{ logits: Float32Array[]; cache: Cache }> {
    const { rows, length, starts } = cache
    const count = ids.length / rows
    const total = length + count
    const mask = new BigInt64Array(rows * total)
    const positions = new BigInt64Array(rows * count)
    for (let r = 0; r < rows; r++) {
      mask.fill(1n, r * total + Math.min(starts[r], total), (r + 1) * total)
      for (let t = 0; t < count; t++) positions[r * count + t] = BigInt(Math.max(0, length + t - starts[r]))
    }
    const feeds: Record<string, ort.Tensor> = {
      input_ids: new ort.Tensor('int64', ids, [rows, count]),
      attention_mask: new ort.Tensor('int64', mask, [rows, total]),
      ...(this.#positions && { position_ids: new ort.Tensor('int64', positions, [rows, count]) }),
    }
    this.#past.forEach((name, i) => {
      feeds[name] = cacheTensor(cache, i, this.#shapes[i])
    })
    const results = await this.#session.run(feeds)
    this.runs++
    const [, told, vocabulary] = results.logits.dims
    const data = results.logits.data as Float32Array
    const logits = Array.from({ length: rows }, (_, r) => {
      const end = (r + 1) * told * vocabulary
      return data.subarray(end - vocabulary, end)
    })
    const tensors = this.#past.map((name) => results[presentOf(name)].data as Float32Array)
    return { logits, cache: { rows, length: total, starts, tensors } }
  }
}

const presentOf = (past: string) => past.replace('past_key_values.', 'present.')
