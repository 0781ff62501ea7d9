import type { Network, Parameter } from '../autograd/training.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { cells } from './cells.ts'
import { dense, embedding, type Pooling, pool } from './layers.ts'
import { recurrent } from './recurrent.ts'

/** What a classifier is built from; sizes in elements. */
export interface ClassifierConfig {
  vocabulary: number
  classes: number
  [option: string]: number | string | boolean | null
}

interface FamilyOption {
  readonly type: 'integer' | 'number' | 'string' | 'boolean'
  readonly default: number | string | boolean
  readonly description: string
  readonly minimum?: number
  readonly maximum?: number
  readonly choices?: readonly string[]
}

export interface Family {
  readonly description: string
  readonly options: Record<string, FamilyOption>
  /** ids int64 (batch, time) padded with 0, lengths int64 (batch) → logits (batch, classes). */
  build(network: Network, ids: Value, lengths: Value, config: ClassifierConfig): Value
}

/** A recurrent text classifier: embedding, one or more layers, pooling over valid steps, dense head. */
const recurrentClassifier =
  (cell: keyof typeof cells): Family['build'] =>
  (network, ids, lengths, config) => {
    const { vocabulary, classes } = config
    const [width, hidden, layers] = [Number(config.width), Number(config.hidden), Number(config.layers)]
    const [dropout, bidirectional] = [Number(config.dropout), Boolean(config.bidirectional)]
    const timeMajor = o.within(network.graph, () => o.transpose(ids, [1, 0]))
    let x = embedding(network.scope('embedding'), timeMajor, vocabulary, width) // (time, batch, width)
    for (let i = 0; i < layers; i++) {
      const layer = network.scope(`${cell}.${i}`)
      // one mask for all steps of a sequence (Gal & Ghahramani 2016)
      x = layer.dropout(x, dropout, [1, ids.shape[0], Number(x.shape[2])])
      x = recurrent(layer, cells[cell], x, lengths, { hidden, bidirectional }) // (time, batch, directions · hidden)
    }
    const head = network.scope('classifier')
    const pooled = pool(network, x, lengths, config.pooling as Pooling) // (batch, directions · hidden)
    return dense(head, head.dropout(pooled, dropout), classes) // (batch, classes)
  }

const recurrentOptions = {
  width: { type: 'integer', default: 128, minimum: 1, maximum: 4096, description: 'size of a token embedding' },
  hidden: { type: 'integer', default: 128, minimum: 1, maximum: 4096, description: 'size of the recurrent state' },
  layers: { type: 'integer', default: 1, minimum: 1, maximum: 8, description: 'recurrent layers' },
  bidirectional: { type: 'boolean', default: true, description: 'read texts in both directions' },
  dropout: {
    type: 'number',
    default: 0.6,
    minimum: 0,
    maximum: 0.95,
    description: 'share of activations dropped in training',
  },
  pooling: {
    type: 'string',
    default: 'max',
    choices: ['last', 'mean', 'max'],
    description: 'how the steps become one vector',
  },
} as const satisfies Family['options']

/** Model families by name. */
export const families = {
  lstm: { description: 'LSTM text classifier', options: recurrentOptions, build: recurrentClassifier('lstm') },
  gru: {
    description: 'GRU text classifier: near the LSTM with three quarters of its weights',
    options: recurrentOptions,
    build: recurrentClassifier('gru'),
  },
  rnn: {
    description: 'plain recurrent text classifier, the smallest: for short texts',
    options: recurrentOptions,
    build: recurrentClassifier('rnn'),
  },
} as const satisfies Record<string, Family>

/** The inputs of every text classifier's graph: ids int64 (batch, time) and lengths int64 (batch). */
export function classifierInputs(graph: GraphBuilder) {
  return { ids: graph.input('ids', 'int64', ['batch', 'time']), lengths: graph.input('lengths', 'int64', ['batch']) }
}

/** Softmax cross-entropy over a batch and how many rows are right: logits (batch, classes), labels int64 (batch). */
export function classifierLoss(logits: Value, labels: Value): { loss: Value; correct: Value } {
  return o.within(logits.graph, () => {
    const picked = o.gatherElements(o.logSoftmax(logits), o.unsqueeze(labels, [1]), 1) // (batch, 1)
    const right = o.equal(o.argMax(logits, 1), labels)
    return { loss: o.neg(o.reduceMean(picked)), correct: o.reduceSum(o.cast(right, 'int64')) }
  })
}

/**
 * The trained model for serving: ids, lengths → `logits` and `probabilities` (batch, classes), weights stored in the
 * graph under their paths.
 */
export function inferenceGraph(
  family: Family,
  config: ClassifierConfig,
  weights: Record<string, { data: Float32Array }>,
): ModelProto {
  const graph = new GraphBuilder()
  const at = (path: string): Network => ({
    graph: graph.scope(path.slice(0, -1)),
    training: false,
    scope: (name) => at(`${path}${name}/`),
    parameter: (name, dims) => graph.initializer(path + name, float32(dims, weights[path + name].data)),
    dropout: (x) => x,
  })
  const { ids, lengths } = classifierInputs(graph)
  const logits = family.build({ ...at(''), graph }, ids, lengths, config)
  graph.output(logits, 'logits')
  graph.output(o.softmax(logits), 'probabilities')
  return graph.build('classifier')
}

/** How many numbers the parameters hold. */
export const countParameters = (parameters: readonly Pick<Parameter, 'dims'>[]) =>
  parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
