import type { Network } from '../autograd/training.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { activations, type Drop, type EncoderConfig, linear, normalised } from './bert.ts'
import { count, shares, weighted } from './layers.ts'

/** Labels of texts from the first token: hidden (batch, time, width) → logits (batch, classes). */
export function classifierHead(
  network: Network,
  hidden: Value,
  { layout, width }: EncoderConfig,
  classes: number,
  drop: (network: Network, x: Value) => Value = (_, x) => x,
): Value {
  const first = o.within(network.graph, () => o.squeeze(o.slice(hidden, [0], [1], [1]), [1])) // (batch, width)
  const pooler = network.scope('pooler')
  const mixed = linear(pooler, first, width)
  const active = o.within(network.graph, () => (layout === 'distilbert' ? o.relu(mixed) : o.tanh(mixed)))
  return linear(network.scope('classifier'), drop(pooler, active), classes)
}

/** Labels of tokens: hidden (batch, time, width) → logits (batch, time, classes). */
export function tokenHead(network: Network, hidden: Value, classes: number, drop: Drop = (_, x) => x): Value {
  const at = network.scope('classifier')
  return linear(at, drop(at, hidden), classes)
}

/**
 * Words at some places: hidden (batch, time, width), positions int64 (batch, places) → logits (batch · places,
 * vocabulary), by the table of words itself.
 */
export function maskedHead(
  network: Network,
  { hidden, words }: { hidden: Value; words: Value },
  positions: Value | undefined,
  { width, epsilon, activation, vocabulary, layout }: EncoderConfig,
): Value {
  const { graph } = network
  const rows = o.within(graph, () => {
    const flat = o.reshape(hidden, [-1, width]) // (batch · time, width)
    if (!positions) return flat
    const starts = o.mul(count(o.dimension(hidden, 0)), o.squeeze(o.dimension(hidden, 1), [0]))
    return o.gather(flat, o.reshape(o.add(positions, o.unsqueeze(starts, [1])), [-1]))
  })
  const head = network.scope('masked')
  const mixed = linear(head.scope('transform'), rows, width)
  // RoBERTa's head has the exact function whatever the layers have; the others follow their configuration
  const active = o.within(graph, () => activations[layout === 'roberta' ? 'gelu' : activation](mixed))
  const normal = normalised(head.scope('norm'), active, layout === 'distilbert' ? 1e-12 : epsilon)
  const bias = head.parameter('bias', [vocabulary], { kind: 'zeros' })
  return o.within(graph, () => o.gemm(normal, words, bias, { transB: true }))
}

export type TextPooling = 'mean' | 'cls'

/** One vector a text (batch, width), of length 1 if asked for: the mean of its tokens, or the first. */
export function embedding(hidden: Value, valid: Value, pooling: TextPooling, unit: boolean): Value {
  const pooled = pooling === 'mean' ? weighted(hidden, shares(valid)) : o.squeeze(o.slice(hidden, [0], [1], [1]), [1])
  return unit ? normalisedRows(pooled) : pooled
}

const normalisedRows = (x: Value) => o.div(x, o.max(o.sqrt(o.reduceSumSquare(x, [1], true)), 1e-12)) // (batch, width)

/** Softmax cross-entropy of rows that have a label, and how many are right: logits (n, classes), labels int64 (n), -1 for none. */
export function labelledLoss(logits: Value, labels: Value): { loss: Value; correct: Value } {
  return o.within(logits.graph, () => {
    const known = o.greaterOrEqual(labels, 0)
    const picked = o.gatherElements(o.logSoftmax(logits), o.unsqueeze(o.max(labels, 0), [1]), 1) // (n, 1)
    const counted = o.cast(known, 'float32')
    const total = o.max(o.reduceSum(counted), 1)
    const right = o.equal(o.argMax(logits, 1), labels)
    return {
      loss: o.neg(o.div(o.reduceSum(o.mul(o.squeeze(picked, [1]), counted)), total)),
      correct: o.reduceSum(o.cast(right, 'int64')),
    }
  })
}
