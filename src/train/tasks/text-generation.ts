import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { trainingGraph } from '../../autograd/training.ts'
import { streamOf, uniformAt } from '../../base/counter.ts'
import { fail } from '../../base/errors.ts'
import ort from '../../base/onnxruntime.ts'
import type { Manifest, Metrics } from '../../bundle/manifest.ts'
import { openCorpus } from '../../data/corpus/corpus.ts'
import {
  type GivenTokenizer,
  openPreparedCorpus,
  type PrepareCorpusOptions,
  type PreparedCorpus,
  prepareCorpus,
} from '../../data/corpus/prepare.ts'
import { mainScript } from '../../data/text.ts'
import type { Read } from '../../drift/features.ts'
import { readReference } from '../../drift/reference.ts'
import { textGenerationRunner } from '../../engine/runners/text-generation.ts'
import { bundleDecoder, decoderConfigOf, decoderFrom } from '../../formats/decoders/decoder.ts'
import { readModel, writeModel } from '../../graph/codec.ts'
import { type DecoderConfig, decoderLoss, decoderLossGraph } from '../../nn/decoder.ts'
import type { DecoderFamily } from '../../nn/family.ts'
import { lowRank, mergeLowRank } from '../../nn/lora.ts'
import type { Weights } from '../checkpoint.ts'
import { assembleTokens, type Stretches, stretchesOf } from '../corpus.ts'
import type { TrainEvent } from '../events.ts'
import type { TrainJob } from '../job.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { openMeasured } from '../opened.ts'
import { corpusOptions } from '../options.ts'
import { withProgress } from '../progress.ts'

/** Learns to write: from scratch, or going on from a decoder that was trained or imported before. */
export const textGeneration: Task = { options: corpusOptions, open }

const CONTEXT = 128
/** Tokens on which weights are measured at most: after each epoch, and at the end. */
const MEASURED = { validation: 1 << 17, test: 1 << 20 }

async function* open(context: TaskContext): AsyncGenerator<TrainEvent, Learner> {
  const { job, options, seed, threads } = context
  const base = job.from && openBase(job.from)
  const asked = options.context === null ? undefined : Number(options.context)
  const window = base ? Math.min(asked ?? CONTEXT, base.config.context) : (asked ?? CONTEXT)
  const family = context.family as DecoderFamily
  const adapted = options.adapt === 'lora'
  if (adapted && !base)
    throw fail('OPTION_INVALID', { option: 'adapt', reason: 'low-rank additions need a model to go on from' })
  const sizes = (vocabulary: number) => base?.config ?? family.config({ ...options, context: window }, vocabulary)
  sizes(1) // what does not fit together is told before the data is read
  const prepared = yield* prepareData(context, window, base && { json: base.tokenizerJson, config: base.generation })
  yield { type: 'data', report: prepared.report as unknown as Record<string, unknown> }
  const config = sizes(prepared.report.vocabulary)
  const graph = trainingGraph((network) =>
    decoderLoss(adapted ? lowRank(network, Number(options.rank)) : network, {
      ...config,
      dropout: Number(options.dropout),
    }),
  )
  const final = (weights: Weights) => (adapted ? mergeLowRank(weights) : weights)
  const train = stretchesOf(prepared, prepared.train, window)
  if (train.rows === 0)
    throw fail('DATA_EMPTY', { source: `${prepared.report.source}: no answer within ${window} tokens` })
  const held = {
    validation: stretchesOf(prepared, prepared.validation, window),
    test: stretchesOf(prepared, prepared.test ?? prepared.validation, window),
  }
  const bundle = (weights: Weights) => bundleOf(config, prepared, final(weights))
  return {
    graph,
    ...(base && { initial: base.weights }),
    rows: train.rows,
    batches: (epoch) => train.batches(Number(options.batchSize), seed, epoch),
    assemble(rows, epoch) {
      const shift = Math.floor(uniformAt(seed, streamOf('shift'), epoch) * window)
      return assembleTokens(
        Array.from(rows, (row) => train.tokens(row, shift)),
        window,
      )
    },
    evaluate: (weights, part) =>
      measure(
        config,
        final(weights),
        held[part],
        { window, rows: Number(options.batchSize), limit: MEASURED[part] },
        threads,
        prepared,
      ),
    chosenBy: { metric: 'loss', better: 'lower' },
    sample: (weights, epoch) => sample(bundle(weights), String(options.prompt), window, seed + epoch, threads),
    async bundle(weights) {
      const { manifest, files } = bundle(weights)
      const reference = readReference([...promptsOf(prepared, job.measure === 'reference')])
      return { manifest: { ...manifest, ...(reference && { reference }) }, files }
    },
  }
}

/** The decoder to go on from; throws UNSUPPORTED for other models. */
function openBase({ manifest, files }: NonNullable<TrainJob['from']>) {
  decoderConfigOf(manifest)
  return decoderFrom(
    manifest!,
    readModel(readFileSync(files['model.onnx'])),
    readFileSync(files['tokenizer.json'], 'utf8'),
  )
}

/** Prepares the corpus, or opens what an interrupted run prepared; progress goes out as events. */
async function* prepareData(
  { job, options, seed }: TaskContext,
  context: number,
  given: GivenTokenizer | undefined,
): AsyncGenerator<TrainEvent, PreparedCorpus> {
  const folder = join(job.folder, 'data')
  const finished = openPreparedCorpus(folder)
  if (finished) return finished
  const { spec } = job
  const read = (source: { path: string; name: string }) => openCorpus(source.path, { ...spec.read, name: source.name })
  const corpus = await read(job.dataset)
  const validation = job.validation && (await read(job.validation))
  const tokenizer = given ?? (await tokenizerOf(corpus, options))
  const settings: PrepareCorpusOptions = { corpus, ...(validation && { validation }), tokenizer, context, seed, folder }
  return yield* withProgress((tell) => prepareCorpus(settings, tell))
}

const VOCABULARY = { most: 8192, least: 512 }
/** Characters of a corpus for each token of its vocabulary, about. */
const TEXT_A_TOKEN = 200

async function tokenizerOf(corpus: PrepareCorpusOptions['corpus'], options: TaskContext['options']) {
  let [kind, characters, script] = [String(options.tokenizer), 0, 'None']
  for await (const piece of corpus.pieces()) {
    const text = 'text' in piece ? piece.text : piece.messages.map(({ content }) => content).join('\n')
    if (script === 'None') script = mainScript(text)
    characters += text.length
    if (characters > VOCABULARY.most * TEXT_A_TOKEN) break
  }
  if (kind === 'auto') kind = ['Han', 'Hiragana', 'Katakana'].includes(script) ? 'character' : 'bpe'
  const suitable = Math.min(VOCABULARY.most, Math.max(VOCABULARY.least, Math.round(characters / TEXT_A_TOKEN)))
  const vocabulary =
    options.vocabulary === null ? (kind === 'bpe' ? suitable : VOCABULARY.most) : Number(options.vocabulary)
  return { kind: kind as 'bpe' | 'character', vocabulary }
}

function bundleOf(config: DecoderConfig, prepared: PreparedCorpus, weights: Weights) {
  const { report, digest, tokenizer, config: generation } = prepared
  const { manifest, files } = bundleDecoder({ config, weights, tokenizerJson: tokenizer, generation })
  const data = report as unknown as Record<string, unknown>
  return { manifest: { ...manifest, data, dataset: { digest, source: report.source, rows: report.documents } }, files }
}

/**
 * What a model is asked: of held-out conversations all that stands before each answer; of running text nothing is known,
 * unless each text is given as what will be asked.
 */
export function* promptsOf({ kind, test, validation, config }: PreparedCorpus, given: boolean): Generator<Read> {
  const { rows } = test ?? validation
  for (let row = 0; row < rows.rows; row++) {
    const ids = rows.ids(row)
    if (kind === 'chat') {
      for (let t = 1; t < ids.length; t++)
        if (ids[t] >= 0 && ids[t - 1] < 0) yield { ids: ids.subarray(0, t).map((id) => (id < 0 ? -1 - id : id)) }
    } else if (given) yield { ids: config.end.includes(ids[ids.length - 1]) ? ids.subarray(0, -1) : ids }
  }
}

/** Mean loss a token, its exponential, and the loss in bits a character, which compares across tokenizers. */
async function measure(
  config: DecoderConfig,
  weights: Weights,
  stretches: Stretches,
  { window, rows: size, limit }: { window: number; rows: number; limit: number },
  threads: number,
  { report }: PreparedCorpus,
): Promise<{ metrics: Metrics; rows: number }> {
  const session = await openMeasured(writeModel(decoderLossGraph(config, weights)), threads)
  let [loss, counted, rows] = [0, 0, 0]
  try {
    for (let row = 0; row < stretches.rows && counted < limit; row += size) {
      const some = Array.from({ length: Math.min(size, stretches.rows - row) }, (_, i) => stretches.tokens(row + i, 0))
      const { tensors, weights: targets } = assembleTokens(some, window)
      const feeds = Object.fromEntries(
        Object.entries(tensors).map(([name, { data, dims }]) => [
          name,
          new ort.Tensor('int64', data as BigInt64Array, dims),
        ]),
      )
      const count = Array.from(targets!).reduce((a, b) => a + b, 0)
      loss += Number((await session.run(feeds)).loss.data[0]) * count
      counted += count
      rows += some.length
    }
  } finally {
    await session.release()
  }
  const mean = loss / Math.max(1, counted)
  const bits = mean / Math.LN2 / report.charactersPerToken
  return { metrics: { loss: mean, perplexity: Math.exp(mean), bitsPerCharacter: bits }, rows }
}

/** What the model would write if it were served now. */
async function sample(
  { manifest, files }: ReturnType<typeof bundleOf>,
  prompt: string,
  context: number,
  seed: number,
  threads: number,
): Promise<string> {
  const read = (file: string) => Buffer.from(files[file as keyof typeof files])
  const runner = await textGenerationRunner(manifest as unknown as Manifest, read, { threads, tokenBudget: 0 })
  try {
    const text = prompt || (manifest.pipeline.chatTemplate === undefined ? '' : 'Hello')
    const request = {
      ...(manifest.pipeline.chatTemplate === undefined
        ? { prompt: text }
        : { messages: [{ role: 'user', content: text }] }),
      maxTokens: Math.min(80, context - 1),
      temperature: 0.8,
      topP: 0.95,
      topK: 0,
      seed,
      stop: [],
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
    }
    let written = text
    for await (const event of runner.generate!(request, new AbortController().signal)) written += event.text
    return written
  } finally {
    await runner.close?.()
  }
}
