import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { ClassifierConfig, TextFamily } from './family.ts'
import { dense, embedding, shares, tokens, weighted } from './layers.ts'

/** The frozen table of what a row of the embedding counts for: the rarity of its tokens or n-grams. */
const RARITY = 'rarity'

/**
 * A sum of the vectors of a text's tokens and hashed n-grams, dense head. By `mean` all count the same (Joulin et al. 2016,
 * fastText); by `rarity` each counts by its inverse document frequency, and the weights of a text have length 1.
 */
const build: TextFamily['build'] = (network, ids, lengths, config) => {
  const { classes } = config
  const longest = Number(config.ngrams)
  const { grams, valid } = o.within(network.graph, () => ngrams(ids, lengths, config))
  // entries start near zero: an n-gram never met in training says nothing
  const x = embedding(network.scope('embedding'), grams, tableSize(config), Number(config.width), 0.001) // (batch, grams, width)
  const even = config.weighting === 'rarity' ? rarities() : o.within(network.graph, () => shares(valid))
  // whole n-grams drop out, those that begin at one token together (Iyyer et al. 2015)
  const byOrder = o.within(network.graph, () => o.reshape(even, [0, longest, -1])) // (batch, longest, time)
  const weights = network.dropout(byOrder, Number(config.dropout), [ids.shape[0], 1, ids.shape[1]])
  const pooled = o.within(network.graph, () => weighted(x, o.reshape(weights, [0, -1]))) // (batch, width)
  return dense(network.scope('classifier'), pooled, classes) // (batch, classes)

  function rarities(): Value {
    const table = network.parameter(RARITY, [tableSize(config)], { kind: 'ones' }, { trainable: false })
    return o.within(network.graph, () => {
      const each = o.mul(o.gather(table, grams), o.cast(valid, table.dtype)) // (batch, grams)
      const length = o.sqrt(o.add(o.reduceSum(o.mul(each, each), [1], true), 1e-12))
      return o.div(each, length)
    })
  }
}

const tableSize = ({ vocabulary, ngrams, buckets }: ClassifierConfig) =>
  vocabulary + (Number(ngrams) > 1 ? Number(buckets) : 0)

export const bow: Pick<TextFamily, 'build' | 'counted'> = {
  build,
  counted: (config) =>
    config.weighting === 'rarity' ? { parameter: RARITY, size: tableSize(config), features: ngrams } : undefined,
}

/** The hash of an n-gram is (hash of all but its last token · MULTIPLIER + last token + 1) modulo the prime 2³¹ - 1: it fits int64. */
const MODULUS = 2 ** 31 - 1
const MULTIPLIER = 1_540_483_477

/**
 * Rows of the table for all n-grams up to `longest` tokens that begin at each token: ids (batch, time) → grams int64 and
 * valid bool, both (batch, time · longest). Tokens keep their ids; longer ones are hashed to the buckets after them.
 */
function ngrams(ids: Value, lengths: Value, config: ClassifierConfig): { grams: Value; valid: Value } {
  const [longest, vocabulary, buckets] = [Number(config.ngrams), config.vocabulary, Number(config.buckets)]
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
