import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ort from 'onnxruntime-node'
import { trainingGraph } from '../../autograd/training.ts'
import { streamOf, uniformAt } from '../../base/counter.ts'
import { fail } from '../../base/errors.ts'
import { outputOf } from '../../base/problem.ts'
import { cardFiles } from '../../data/card.ts'
import type { EncodedSplit } from '../../data/encoded.ts'
import type { TextPipeline } from '../../data/pipeline.ts'
import { TEXTS } from '../../data/prepare.ts'
import { readSamples, sampleFiles } from '../../data/samples.ts'
import { writeModel } from '../../graph/codec.ts'
import { signatureOf } from '../../graph/signature.ts'
import { classifierInputs, countParameters, inferenceGraph } from '../../nn/families.ts'
import type { ClassifierConfig, TextFamily } from '../../nn/family.ts'
import { heads } from '../../nn/heads.ts'
import { assemble, feedsOf, type Window } from '../assemble.ts'
import type { Batch } from '../batch.ts'
import { epochBatches, evaluationBatches } from '../batches.ts'
import type { Weights } from '../checkpoint.ts'
import type { TrainEvent } from '../events.ts'
import { latencyOf } from '../latency.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { lessons, type Teacher, taughtLoss, withLessons } from '../lessons.ts'
import { headOptions, textOptions } from '../options.ts'
import { prepareData } from '../prepared.ts'
import { classifierReference } from '../reference.ts'
import { bestThresholds, betterOf, chosenBy, metricsOf, type Scorer, scorerOf } from '../scores.ts'
import { classWeightsOf, targetsOf } from '../targets.ts'

/** Labels or a number for a text, by a family over token ids. */
export const textClassification: Task = {
  options: { ...textOptions, ...headOptions },
  open: (context) => openTextClassifier(context),
}

/** What a classifier learns from beside its data. */
export interface Learning {
  /** Pipeline and labels of a version that is trained further. */
  readonly known?: { pipeline: TextPipeline; labels: readonly string[] }
  /** Weights to start from. */
  readonly initial?: Weights
  /** Texts that must not be trained on. */
  readonly exclude?: readonly string[]
  readonly teacher?: Teacher
}

/** A learner for texts, taught by a teacher as well if there is one. */
export async function* openTextClassifier(
  context: TaskContext,
  { known: former, initial, exclude, teacher }: Learning = {},
): AsyncGenerator<TrainEvent, Learner> {
  const { job, name, options, seed, threads } = context
  const family = context.family as TextFamily
  const prepared = yield* prepareData(job, options, seed, {
    ...(former && { known: former }),
    ...(exclude && { exclude }),
    keepTexts: teacher !== undefined,
  })
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const { problem, labels: known, pipeline, profile, train, validation, test = validation } = prepared
  const labels = problem === 'regression' ? [prepared.report.columns.label ?? 'value'] : known
  const head = heads[problem]
  const targets = targetsOf(problem, prepared)
  const classes = head.width(labels.length)
  const config: ClassifierConfig = { ...options, vocabulary: pipeline.vocabularySize, classes }
  const weights = classWeightsOf(String(options.classWeights), problem, labels, profile.labels)
  const metric = options.chooseBy === 'auto' ? chosenBy[problem] : String(options.chooseBy)
  if (!metricsOf[problem].includes(metric)) {
    const reason = `expected one of ${metricsOf[problem].join(', ')} for ${problem}, got "${metric}"`
    throw fail('OPTION_INVALID', { option: 'chooseBy', reason })
  }

  const learnt = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const truth = head.target(network.graph, classes)
    const smoothing = Number(options.labelSmoothing)
    const each = weights && { weights: network.graph.input('weights', 'float32', ['batch']) }
    const logits = family.build(network, ids, lengths, config)
    const own = head.loss(logits, truth, { smoothing, ...each })
    if (!teacher) return own
    return taughtLoss(own, logits, network.graph.input('teacher', 'float32', ['batch', labels.length]), teacher)
  })
  const taught = teacher && (yield* lessons(teacher, join(prepared.folder, TEXTS), train.rows, labels.length))
  const served = { problem, ...(targets.scale && { scale: targets.scale }) }
  const inference = (trained: Weights) => inferenceGraph(family, config, trained, served)

  /** What weights give for each row of a split, through the graph that will be served. */
  async function* answers(trained: Weights, split: EncodedSplit) {
    const session = await ort.InferenceSession.create(writeModel(inference(trained)), {
      intraOpNumThreads: threads,
      logSeverityLevel: 3,
    })
    try {
      for (const rows of evaluationBatches(split, 128)) {
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
    graph: learnt,
    ...(initial && { initial }),
    rows: train.rows,
    batches: (epoch) => epochBatches(train, Number(options.batchSize), seed, epoch),
    assemble(rows, epoch) {
      const window = options.crop === true ? cropping(seed, epoch) : undefined
      const own = assemble(train, rows, targets.tensor(train, rows), window)
      const batch = taught ? withLessons(own, rows, taught, labels.length) : own
      const share = Number(options.wordDropout)
      if (share > 0) dropTokens(batch, rows, share, seed, epoch)
      return weights
        ? weighted(
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
    latency: (trained) => latencyOf(writeModel(inference(trained)), profile.lengths.p50),
    async bundle(trained) {
      const graph = inference(trained)
      const model = writeModel(graph)
      const samples = samplesIn(prepared.folder)
      const held = samples[sampleFiles.heldOut]
      const rows = held ? readSamples(Buffer.from(held).toString('utf8')) : []
      // what requests are compared with later: shares of labels, which only one label a text has
      const reference =
        problem === 'classification' ? await classifierReference(model, pipeline, labels, rows, threads) : undefined
      const thresholds = await thresholdsOf(trained)
      return {
        manifest: {
          task: 'text-classification',
          family: name,
          ...(problem !== 'classification' && { problem }),
          ...(thresholds && { thresholds }),
          signature: signatureOf(graph),
          labels,
          pipeline: pipeline.config as unknown as Record<string, unknown>,
          parameters: countParameters(learnt.parameters),
          profile: profile as unknown as Record<string, unknown>,
          data: prepared.report as unknown as Record<string, unknown>,
          ...(reference && { reference }),
          dataset: { digest: prepared.digest, source: prepared.report.source, rows: prepared.report.rowsRead },
        },
        files: {
          'model.onnx': model,
          'tokenizer.json': pipeline.tokenizerJson,
          ...cardFiles(prepared),
          ...samples,
        },
      }
    },
  }
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
const weighted = (batch: Batch, weights: Float32Array): Batch => ({
  ...batch,
  tensors: { ...batch.tensors, weights: { type: 'float32', dims: [batch.rows], data: weights } },
  weights,
})
