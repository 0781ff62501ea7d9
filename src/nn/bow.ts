import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { Build } from './family.ts'
import { dense, embedding, shares, tokens, weighted } from './layers.ts'

/** The mean of the vectors of a text's tokens and hashed n-grams, dense head (Joulin et al. 2016, fastText). */
export const bow: Build = (network, ids, lengths, config) => {
  const { vocabulary, classes } = config
  const [longest, buckets] = [Number(config.ngrams), Number(config.buckets)]
  const size = vocabulary + (longest > 1 ? buckets : 0)
  const { grams, valid } = o.within(network.graph, () => ngrams(ids, lengths, longest, vocabulary, buckets))
  // entries start near zero: an n-gram never met in training says nothing
  const x = embedding(network.scope('embedding'), grams, size, Number(config.width), 0.001) // (batch, grams, width)
  const even = o.within(network.graph, () => o.reshape(shares(valid), [0, longest, -1])) // (batch, longest, time)
  // whole n-grams drop out, those that begin at one token together (Iyyer et al. 2015)
  const weights = network.dropout(even, Number(config.dropout), [ids.shape[0], 1, ids.shape[1]])
  const pooled = o.within(network.graph, () => weighted(x, o.reshape(weights, [0, -1]))) // (batch, width)
  return dense(network.scope('classifier'), pooled, classes) // (batch, classes)
}

/** The hash of an n-gram is (hash of all but its last token · MULTIPLIER + last token + 1) modulo the prime 2³¹ - 1: it fits int64. */
const MODULUS = 2 ** 31 - 1
const MULTIPLIER = 1_540_483_477

/**
 * Rows of the table for all n-grams up to `longest` tokens that begin at each token: ids (batch, time) → grams int64 and
 * valid bool, both (batch, time · longest). Tokens keep their ids; longer ones are hashed to the buckets after them.
 */
function ngrams(ids: Value, lengths: Value, longest: number, vocabulary: number, buckets: number) {
  const padded = o.pad(ids, [0, 0, 0, longest - 1])
  const valid = o.pad(tokens(ids, lengths), [0, 0, 0, longest - 1])
  /** The values `by` tokens further on. */
  const ahead = (all: Value, by: number) => o.slice(all, [by], [by + 1 < longest ? by + 1 - longest : 2 ** 31], [1])
  const grams = [ids]
  const whole = [ahead(valid, 0)]
  let hash = o.add(ids, 1)
  for (let by = 1; by < longest; by++) {
    hash = o.mod(o.add(o.mul(hash, MULTIPLIER), o.add(ahead(padded, by), 1)), MODULUS)
    grams.push(o.add(o.mod(hash, buckets), vocabulary))
    whole.push(ahead(valid, by))
  }
  return { grams: o.concat(grams, 1), valid: o.concat(whole, 1) }
}
