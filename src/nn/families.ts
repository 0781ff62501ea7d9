import type { Parameter } from '../autograd/training.ts'
import { outputOf, type Problem } from '../base/problem.ts'
import { GraphBuilder } from '../graph/builder.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import * as o from '../graph/ops.ts'
import { bow } from './bow.ts'
import { gpt, llama } from './decoders.ts'
import type { ClassifierConfig, Family, TextFamily } from './family.ts'
import { heads } from './heads.ts'
import { inferenceNetwork, type Weights } from './inference.ts'
import { lossNames } from './losses.ts'
import { recurrentClassifier } from './recurrent.ts'
import { resnetClassifier } from './resnet.ts'
import { textcnn } from './textcnn.ts'
import { transformer } from './transformer.ts'
import { wide } from './wide.ts'

const integer = (value: number, description: string, minimum = 1, maximum = 4096) =>
  ({ type: 'integer', default: value, minimum, maximum, description }) as const
const choice = <T extends string>(choices: readonly [T, ...T[]], description: string) =>
  ({ type: 'string', default: choices[0], choices, description }) as const
const width = (value: number) => integer(value, 'size of a token embedding')
const dropout = (value: number) => {
  const description = 'share of activations dropped in training'
  return { type: 'number', default: value, minimum: 0, maximum: 0.95, description } as const
}

const recurrentOptions = {
  width: width(128),
  hidden: integer(128, 'size of the recurrent state'),
  layers: integer(1, 'recurrent layers', 1, 8),
  bidirectional: { type: 'boolean', default: true, description: 'read texts in both directions' },
  dropout: dropout(0.6),
  pooling: choice(['max', 'mean', 'last'], 'how the steps become one vector'),
} as const satisfies Family['options']

const convolutionOptions = {
  width: width(128),
  filters: integer(100, 'filters of each window size'),
  narrowest: integer(3, 'tokens in the smallest window', 1, 16),
  windows: integer(3, 'how many window sizes, each one token wider than the one before', 1, 8),
  dropout: dropout(0.5),
} as const satisfies Family['options']

/** What networks that read tokens one by one train best with: weights averaged over some hundred steps, some tokens unknown. */
const steadied = { average: 0.998, wordDropout: 0.1 } as const
const importedOptions = {
  trainable: { type: 'string', default: '.', description: 'regular expression of the names of the weights to train' },
  output: { type: 'string', default: '', description: 'the output that the loss is computed from; the first if empty' },
  head: integer(0, 'classes of a new last layer, drawn anew; 0 keeps the one it has', 0, 100_000),
} as const satisfies Family['options']

/** Model families by name. */
export const families = {
  lstm: {
    task: 'text-classification',
    description: 'long short-term memory: order and context at any distance; the default',
    options: recurrentOptions,
    defaults: steadied,
    build: recurrentClassifier('lstm'),
  },
  gru: {
    task: 'text-classification',
    description: 'gated recurrent units: close to the LSTM with three quarters of its weights',
    options: recurrentOptions,
    defaults: steadied,
    build: recurrentClassifier('gru'),
  },
  rnn: {
    task: 'text-classification',
    description: 'plain recurrent network: the smallest of its kind, for short texts',
    options: recurrentOptions,
    defaults: steadied,
    build: recurrentClassifier('rnn'),
  },
  textcnn: {
    task: 'text-classification',
    description: 'convolutions over windows of a few tokens: fast, good where phrases decide',
    options: convolutionOptions,
    defaults: steadied,
    build: textcnn,
  },
  wide: {
    task: 'text-classification',
    description: 'TextCNN and bag of n-grams in one network: remembers phrases and judges new ones',
    options: {
      ...convolutionOptions,
      bagWidth: integer(8, 'size of the vector of an n-gram'),
      ngrams: integer(2, 'tokens in the longest n-gram', 1, 8),
      buckets: integer(524_288, 'rows of the table that n-grams of two and more tokens share', 1, 8_388_608),
    },
    defaults: steadied,
    ...wide,
  },
  bow: {
    task: 'text-classification',
    description: 'bag of n-grams as in fastText: seconds to train, the baseline to beat',
    options: {
      width: width(16),
      ngrams: integer(2, 'tokens in the longest n-gram', 1, 8),
      buckets: integer(131_072, 'rows of the table that n-grams of two and more tokens share', 1, 8_388_608),
      weighting: choice(['rarity', 'mean'], 'what n-grams count: the rarer the more, or all the same'),
      dropout: dropout(0.5),
    },
    defaults: { learningRate: 0.005, batchSize: 64 },
    ...bow,
  },
  transformer: {
    task: 'text-classification',
    description: 'Transformer encoder: for longer texts and more data',
    options: {
      width: width(128),
      layers: integer(2, 'attention layers', 1, 48),
      heads: integer(4, 'attention heads; twice their number divides the width', 1, 64),
      headSize: integer(0, 'size of a head; 0 for the width divided by the heads', 0, 1024),
      inner: integer(512, 'size of the feed-forward part', 1, 16_384),
      positions: choice(['waves', 'learned'], 'how tokens know their place'),
      pooling: choice(['mean', 'first'], 'how the tokens become one vector'),
      dropout: dropout(0.2),
    },
    defaults: { learningRate: 0.0005, warmup: 0.1, ...steadied },
    build: transformer,
  },
  gpt,
  llama,
  resnet: {
    task: 'image-classification',
    description: 'residual network of convolutions: for images of any size',
    options: {
      depth: choice(
        ['small', '18', '34', '50'],
        'small has three stages of narrow blocks; the others are the published ones',
      ),
      width: integer(16, 'channels of the first stage of a small one', 1, 1024),
      blocks: integer(1, 'blocks in each stage of a small one', 1, 64),
      stem: choice(['auto', 'large', 'small'], 'how it begins; auto begins small for images of up to 64 pixels'),
    },
    defaults: { learningRate: 0.01, batchSize: 64, clipNorm: 5, warmup: 0.1 },
    build: resnetClassifier,
  },
  onnx: {
    task: 'tensor',
    imported: true,
    description: 'any ONNX graph of your own (--from), on rows of tensors',
    options: { loss: choice(lossNames, 'what is made smaller'), ...importedOptions },
    defaults: { learningRate: 0.001 },
  },
  'onnx-images': {
    task: 'image-classification',
    imported: true,
    description:
      'an ONNX graph that takes images (--from), e.g. a published ResNet or MobileNet, on images of your own',
    options: {
      ...importedOptions,
      scale: choice(
        ['auto', 'imagenet', 'data', 'unit', 'signed'],
        'values that pixels become: auto is that of the registered model, else of ImageNet for colour and of the data for grey; unit is 0 to 1, signed -1 to 1',
      ),
    },
    defaults: { learningRate: 0.0005 },
  },
} as const satisfies Record<string, Family>

/** The inputs of every text classifier's graph: ids int64 (batch, time) and lengths int64 (batch). */
export function classifierInputs(graph: GraphBuilder) {
  return { ids: graph.input('ids', 'int64', ['batch', 'time']), lengths: graph.input('lengths', 'int64', ['batch']) }
}

/** What a graph for serving ends with: the head of a problem and, for numbers, their mean and deviation. */
export interface Served {
  problem: Problem
  scale?: { mean: number; deviation: number }
}

/**
 * The trained model for serving: ids, lengths → `logits` (batch, classes) and what the head makes of them,
 * `probabilities` (batch, classes) or `values` (batch, 1); weights stored in the graph under their paths.
 */
export function inferenceGraph(
  family: TextFamily,
  config: ClassifierConfig,
  weights: Weights,
  { problem, scale }: Served = { problem: 'classification' },
): ModelProto {
  const graph = new GraphBuilder()
  const { ids, lengths } = classifierInputs(graph)
  const logits = family.build(inferenceNetwork(graph, weights), ids, lengths, config)
  graph.output(logits, 'logits')
  const answer = o.within(graph, () => heads[problem].serve(logits, scale))
  graph.output(answer, outputOf[problem])
  return graph.build('classifier')
}

/** How many numbers the parameters hold. */
export const countParameters = (parameters: readonly Pick<Parameter, 'dims'>[]) =>
  parameters.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0)
