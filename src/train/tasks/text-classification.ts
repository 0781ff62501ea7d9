import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Network, trainingGraph } from '../../autograd/training.ts'
import { streamOf, uniformAt } from '../../base/counter.ts'
import { fail } from '../../base/errors.ts'
import { outputOf } from '../../base/problem.ts'
import { cardFiles } from '../../data/card.ts'
import type { EncodedSplit } from '../../data/encoded.ts'
import { TextPipeline } from '../../data/pipeline.ts'
import { type Prepared, TEXTS } from '../../data/prepare.ts'
import { readSamples, sampleFiles } from '../../data/samples.ts'
import type { Value } from '../../graph/builder.ts'
import { writeModel } from '../../graph/codec.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { signatureOf } from '../../graph/signature.ts'
import { classifierInputs, countParameters, inferenceGraph } from '../../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../../nn/family.ts'
import { heads } from '../../nn/heads.ts'
import { assemble, feedsOf, type Window } from '../assemble.ts'
import type { Batch } from '../batch.ts'
import { epochBatches, evaluationBatches } from '../batches.ts'
import type { Weights } from '../checkpoint.ts'
import { openBase } from '../encoders/base.ts'
import { type EncoderNetwork, encoderNetwork } from '../encoders/network.ts'
import type { TrainEvent } from '../events.ts'
import { formerOf } from '../former.ts'
import { latencyOf } from '../latency.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { HINT, type Lessons, lessons, type Teacher, taughtLoss, withLessons } from '../lessons.ts'
import { openMeasured } from '../opened.ts'
import { headOptions, textOptions } from '../options.ts'
import { prepareData } from '../prepared.ts'
import { problemOf } from '../problem.ts'
import { raritiesOf } from '../rarity.ts'
import { classifierReference } from '../reference.ts'
import { bestThresholds, betterOf, chosenBy, metricsOf, type Scorer, scorerOf } from '../scores.ts'
import { classWeightsOf, type Targets, targetsOf } from '../targets.ts'

/** Labels or a number for a text, by a family over token ids. */
export const textClassification: Task = {
  options: { ...textOptions, ...headOptions },
  open: (context) => openTextClassifier(context, formerOf(context)),
}

/** What a classifier learns from beside its data. */
export interface Learning {
  /** Pipeline and labels of a version that is trained further; rows of other labels are refused. */
  readonly known?: { pipeline: TextPipeline; labels: readonly string[] }
  /** Weights to start from. */
  readonly initial?: Weights
  /** Texts that must not be trained on. */
  readonly exclude?: readonly string[]
  readonly teacher?: Teacher
  /** A network in the place of the family's, over the same inputs. */
  readonly graph?: LearningGraph
}

/** A network of ids int64 (batch, time) and lengths int64 (batch), and the graph that is served with its weights. */
interface LearningGraph {
  build(network: Network, ids: Value, lengths: Value): Value
  served(weights: Weights): ModelProto
}

/** A learner for texts, taught by a teacher as well if there is one. */
export async function* openTextClassifier(
  context: TaskContext,
  { known: former, initial, exclude, teacher, graph: another }: Learning = {},
): AsyncGenerator<TrainEvent, Learner> {
  const { job, options, seed, threads } = context
  const problem = problemOf(job.spec)
  const base = context.name === 'encoder' ? openBase(context) : undefined
  if (base && problem !== 'classification')
    throw fail('UNSUPPORTED', {
      what: `a published encoder for ${problem}`,
      instead: 'Give each text one label, or train a family of our own, without "from".',
    })
  const { chooseBy = 'auto' } = options
  const metric = chooseBy === 'auto' ? chosenBy[problem] : String(chooseBy)
  if (!metricsOf[problem].includes(metric)) {
    const reason = `expected one of ${metricsOf[problem].join(', ')} for ${problem}, got "${metric}"`
    throw fail('OPTION_INVALID', { option: 'chooseBy', reason })
  }
  const given = base ? { pipeline: TextPipeline.published(base.tokenizerJson, base.maxLength) } : former
  const prepared = yield* prepareData(job, options, seed, {
    ...(given && { known: given }),
    ...(exclude && { exclude }),
    keepTexts: teacher !== undefined,
  })
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const { labels: known, pipeline, profile, train, validation, test = validation } = prepared
  const labels = problem === 'regression' ? [prepared.report.columns.label ?? 'value'] : known
  const head = heads[problem]
  const targets = targetsOf(problem, prepared)
  const classes = head.width(labels.length)
  // what an encoder has no option for is as if nothing were said
  const weights = classWeightsOf(String(options.classWeights ?? 'none'), problem, labels, profile.labels)

  const weighted = weights !== undefined
  const lesson = teacher && (yield* lessons(teacher, join(prepared.folder, TEXTS), train.rows, labels.length))
  const taught = teacher && lesson && { teacher, lessons: lesson }
  const network = base
    ? encoderNetwork(base, { task: 'text-classification', classes }, labels, options)
    : ownNetwork(context, { ...prepared, labels }, { weighted, taught, scale: targets.scale, another })
  const start =
    initial ?? network.initial ?? ('config' in network ? await countedIn(context, network.config, train) : undefined)

  /** What weights give for each row of a split, through the graph that will be served. */
  async function* answers(trained: Weights, split: EncodedSplit) {
    const session = await openMeasured(writeModel(network.served(trained)), threads)
    try {
      for (const rows of evaluationBatches(split, Number(options.batchSize))) {
        const batch = assemble(split, rows, targets.tensor(split, rows))
        const outputs = await session.run(feedsOf(batch, ['ids', 'lengths']))
        const values = outputs[outputOf[problem]].data as Float32Array
        for (let r = 0; r < batch.rows; r++)
          yield { truth: targets.truth(split, rows[r]), scores: values.subarray(r * classes, (r + 1) * classes) }
      }
    } finally {
      await session.release()
    }
  }
  const score = async (trained: Weights, split: EncodedSplit, scorer: Scorer) => {
    for await (const { truth, scores } of answers(trained, split)) scorer.add(truth, scores)
    return { metrics: scorer.metrics(), rows: scorer.rows }
  }
  /** Chosen on the validation split, once for each weights that are kept. */
  const chosen = new WeakMap<Weights, Promise<number[] | undefined>>()
  const thresholdsOf = (trained: Weights) => {
    const choose = async () => {
      if (problem !== 'multi-label') return undefined
      const rows: { truth: readonly number[]; scores: Float32Array }[] = []
      for await (const { truth, scores } of answers(trained, validation))
        rows.push({ truth: truth as readonly number[], scores: scores.slice() })
      return bestThresholds(labels.length, rows)
    }
    const thresholds = chosen.get(trained) ?? choose()
    chosen.set(trained, thresholds)
    return thresholds
  }

  return {
    graph: network.graph,
    ...(start && { initial: start }),
    rows: train.rows,
    batches: (epoch) => epochBatches(train, Number(options.batchSize), seed, epoch),
    assemble(rows, epoch) {
      const window = options.crop === true ? cropping(seed, epoch) : undefined
      const own = assemble(train, rows, targets.tensor(train, rows), window)
      const batch = taught ? withLessons(own, rows, taught.lessons, labels.length) : own
      const share = Number(options.wordDropout)
      if (share > 0) dropTokens(batch, rows, share, seed, epoch)
      return weights
        ? weighing(
            batch,
            Float32Array.from(rows, (row) => weights[train.label(row)]),
          )
        : batch
    },
    async evaluate(trained, part) {
      if (part === 'validation') return score(trained, validation, scorerOf(problem, labels))
      return score(trained, test, scorerOf(problem, labels, await thresholdsOf(trained)))
    },
    chosenBy: { metric, better: betterOf(metric) },
    latency: (trained) => latencyOf(writeModel(network.served(trained)), profile.lengths.p50),
    async bundle(trained) {
      const { manifest, files } = network.bundle(trained)
      const samples = samplesIn(prepared.folder)
      const held = samples[sampleFiles.heldOut]
      const rows = held ? readSamples(Buffer.from(held).toString('utf8')) : []
      const model = files['model.onnx'] as Uint8Array
      // what requests are compared with later: shares of labels, which only one label a text has
      const reference =
        problem === 'classification' ? await classifierReference(model, pipeline, labels, rows, threads) : undefined
      const thresholds = await thresholdsOf(trained)
      return {
        manifest: {
          ...manifest,
          ...(problem !== 'classification' && { problem }),
          ...(thresholds && { thresholds }),
          profile: profile as unknown as Record<string, unknown>,
          data: prepared.report as unknown as Record<string, unknown>,
          ...(reference && { reference }),
          dataset: { digest: prepared.digest, source: prepared.report.source, rows: prepared.report.rowsRead },
        },
        files: { ...files, ...cardFiles(prepared), ...samples },
      }
    },
  }
}

/** A network of one of our own families, which starts from nothing. */
function ownNetwork(
  { name, family: given, options }: TaskContext,
  { problem, labels, pipeline }: Pick<Prepared, 'problem' | 'labels' | 'pipeline'>,
  how: {
    weighted: boolean
    taught: { teacher: Teacher; lessons: Lessons } | undefined
    scale: Targets['scale']
    another: LearningGraph | undefined
  },
): Omit<EncoderNetwork, 'initial'> & { initial?: Weights; config: ClassifierConfig } {
  const family = given as TextFamily
  const head = heads[problem]
  const classes = head.width(labels.length)
  const { another } = how
  const config: ClassifierConfig = { ...options, vocabulary: pipeline.vocabularySize, classes }
  const graph = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const truth = head.target(network.graph, classes)
    const smoothing = Number(options.labelSmoothing)
    const each = how.weighted && { weights: network.graph.input('weights', 'float32', ['batch']) }
    const logits = another ? another.build(network, ids, lengths) : family.build(network, ids, lengths, config)
    const own = head.loss(logits, truth, { smoothing, ...each })
    if (!how.taught) return own
    return taughtLoss(network, own, logits, { ids, lengths }, how.taught.lessons, how.taught.teacher)
  })
  const scale = how.scale && { scale: how.scale }
  const served =
    another?.served ?? ((trained: Weights) => inferenceGraph(family, config, trained, { problem, ...scale }))
  return {
    config,
    graph,
    served,
    bundle(trained) {
      const model = served(trained)
      const manifest = {
        task: 'text-classification' as const,
        family: name,
        signature: signatureOf(model),
        labels,
        pipeline: pipeline.config as unknown as Record<string, unknown>,
        parameters: countParameters(graph.parameters.filter(({ name: path }) => !path.startsWith(HINT))),
      }
      return { manifest, files: { 'model.onnx': writeModel(model), 'tokenizer.json': pipeline.tokenizerJson } }
    },
  }
}

/** What a family wants to know of the training texts before it learns of them. */
async function countedIn({ family, threads }: TaskContext, config: ClassifierConfig | undefined, train: EncodedSplit) {
  const counted = config && (family as TextFamily).counted?.(config)
  if (!counted) return undefined
  const data = await raritiesOf(train, counted, config, threads)
  return { [counted.parameter]: { dims: [counted.size], data } } satisfies Weights
}

/** The sample files that preparing left in a folder. */
const samplesIn = (folder: string): Record<string, Uint8Array> =>
  Object.fromEntries(
    Object.values(sampleFiles)
      .filter((name) => existsSync(join(folder, name)))
      .map((name) => [name, readFileSync(join(folder, name))]),
  )

/** A random window of each row: half of the rows whole, the others cut to between 8 tokens and all of them. */
function cropping(seed: number, epoch: number): Window {
  const stream = streamOf(`crop ${epoch}`)
  return (row, length) => {
    const [whether, size, place] = [0, 1, 2].map((i) => uniformAt(seed, stream, 3 * row + i))
    if (whether < 0.5 || length <= 8) return { start: 0, length }
    const taken = Math.floor(8 + size * (length - 8))
    return { start: Math.floor(place * (length - taken + 1)), length: taken }
  }
}

/** Makes a share of a batch's tokens unknown, drawn for row, place and epoch. */
function dropTokens({ tensors, sizes }: Batch, rows: Int32Array, share: number, seed: number, epoch: number) {
  const [ids, lengths] = [tensors.ids.data as BigInt64Array, tensors.lengths.data as BigInt64Array]
  rows.forEach((row, r) => {
    const stream = streamOf(`words ${epoch} ${row}`)
    for (let t = 0; t < Number(lengths[r]); t++) if (uniformAt(seed, stream, t) < share) ids[r * sizes.time + t] = 1n
  })
}

/** A batch whose rows count differently in the loss. */
const weighing = (batch: Batch, weights: Float32Array): Batch => ({
  ...batch,
  tensors: { ...batch.tensors, weights: { type: 'float32', dims: [batch.rows], data: weights } },
  weights,
})
