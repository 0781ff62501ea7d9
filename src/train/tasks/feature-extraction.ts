import { fail } from '../../base/errors.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { type Grouped, readPairs } from '../../data/pairs.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import { type Reference, vectorReference } from '../../drift/reference.ts'
import type { EncoderHead } from '../../nn/encoders.ts'
import { feedsOf } from '../assemble.ts'
import type { Batch } from '../batch.ts'
import { epochBatches, evaluationBatches } from '../batches.ts'
import { needBase } from '../encoders/base.ts'
import { encoderNetwork, padded, whole, withSession } from '../encoders/network.ts'
import { reportOf, splitData } from '../encoders/rows.ts'
import type { TrainEvent } from '../events.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { retrieval, spearman } from '../likeness.ts'

interface EncodedRow {
  readonly sides: readonly Int32Array[]
  readonly score: number
}

/** Embeddings of texts: pairs and triples are drawn together and apart, or cosines are fitted to scores. */
export const featureExtraction: Task = { options: {}, open }

async function* open(context: TaskContext): AsyncGenerator<TrainEvent, Learner> {
  const { options, seed, threads } = context
  const base = needBase(context)
  const tokenizer = new PublishedTokenizer(base.tokenizerJson, base)
  const data = await splitData(context, readPairs)
  const scored = data.train[0].score !== undefined
  const sides = data.train[0].texts.length
  const odd = [...data.validation, ...data.test].some(
    ({ texts, score }) => texts.length !== sides || (score !== undefined) !== scored,
  )
  if (odd) throw fail('SPLIT_IMPOSSIBLE', { reason: 'the validation file has other columns than the training data' })
  const encode = (rows: Grouped[]) => encodeRows(rows, tokenizer)
  const [train, validation, test] = [await encode(data.train), await encode(data.validation), await encode(data.test)]
  const report = reportOf(data, { columns: { sides, scored } })
  yield { type: 'data', report }
  const head: EncoderHead =
    base.head.task === 'feature-extraction' ? base.head : { task: 'feature-extraction', pooling: 'mean', unit: true }
  const network = encoderNetwork(base, head, [], options, { scored })
  const longest = (rows: EncodedRow[]) => ({
    rows: rows.length,
    length: (row: number) => Math.max(...rows[row].sides.map(({ length }) => length)),
  })
  const assemble = (rows: Int32Array): Batch => {
    const picked = Array.from(rows, (row) => train[row])
    const { time, tensor } = padded(
      picked.flatMap((row) => row.sides),
      base.config.padding,
    )
    const dims = [rows.length, sides]
    const ids = { ...tensor, dims: [...dims, time] }
    const lengths = whole(
      dims,
      picked.flatMap((row) => row.sides.map(({ length }) => length)),
    )
    const scores = {
      type: 'float32',
      dims: [rows.length],
      data: Float32Array.from(picked, ({ score }) => score),
    } as const
    return { tensors: { ids, lengths, ...(scored && { scores }) }, rows: rows.length, sizes: { sides, time } }
  }
  /** Vectors of one side of all rows. */
  const evaluate = (
    rows: EncodedRow[],
    model: ReturnType<typeof network.served>,
    saw: (vectors: readonly Float32Array[]) => void = () => {},
  ): Promise<Metrics> =>
    withSession(model, threads, async (session) => {
      const embed = async (side: number) => {
        const texts = rows.map((row) => row.sides[side])
        const vectors: Float32Array[] = []
        const many = { rows: texts.length, length: (row: number) => texts[row].length }
        for (const picked of evaluationBatches(many, 64)) {
          const { time, tensor: ids } = padded(
            Array.from(picked, (row) => texts[row]),
            base.config.padding,
          )
          const lengths = whole(
            [picked.length],
            Array.from(picked, (row) => texts[row].length),
          )
          const batch = { tensors: { ids, lengths }, rows: picked.length, sizes: { time } }
          const { embeddings } = await session.run(feedsOf(batch, ['ids', 'lengths']))
          const width = embeddings.dims[1]
          picked.forEach((row, r) => {
            vectors[row] = (embeddings.data as Float32Array).subarray(r * width, (r + 1) * width)
          })
        }
        return vectors
      }
      const [anchors, matches] = [await embed(0), await embed(1)]
      saw([...anchors, ...matches])
      return scored
        ? spearman(
            anchors,
            matches,
            rows.map(({ score }) => score),
          )
        : retrieval(anchors, matches)
    })
  return {
    graph: network.graph,
    initial: network.initial,
    rows: train.length,
    batches: (epoch) => epochBatches(longest(train), Number(options.batchSize), seed, epoch),
    assemble,
    async evaluate(weights, part) {
      const rows = part === 'test' ? test : validation
      return { metrics: await evaluate(rows, network.served(weights)), rows: rows.length }
    },
    chosenBy: { metric: scored ? 'spearman' : 'retrievalAccuracy', better: 'higher' },
    async bundle(weights) {
      const { manifest, files } = network.bundle(weights)
      let reference: Reference | undefined
      await evaluate(test, network.served(weights), (vectors) => {
        reference = vectorReference(vectors)
      })
      return { manifest: { ...manifest, data: report, ...(reference && { reference }), dataset: data.dataset }, files }
    },
  }
}

async function encodeRows(rows: Grouped[], tokenizer: PublishedTokenizer): Promise<EncodedRow[]> {
  const encoded: EncodedRow[] = []
  for (let from = 0; from < rows.length; from += 256) {
    const some = rows.slice(from, from + 256)
    const ids = await tokenizer.encode(some.flatMap(({ texts }) => texts))
    let at = 0
    for (const { texts, score = 0 } of some) encoded.push({ sides: texts.map(() => ids[at++]), score })
  }
  return encoded
}
