import { fail } from '../../base/errors.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { PublishedTokenizer, type Spans } from '../../data/published.ts'
import { readTagged, type TaggedText } from '../../data/tagged.ts'
import type { Read } from '../../drift/features.ts'
import { type Reference, readReference } from '../../drift/reference.ts'
import { entitiesOf, labelNumbers, readOf } from '../../engine/entities.ts'
import { textFeeds } from '../../engine/texts.ts'
import { feedsOf } from '../assemble.ts'
import { epochBatches, evaluationBatches } from '../batches.ts'
import { needBase } from '../encoders/base.ts'
import { encoderNetwork, padded, whole, withSession } from '../encoders/network.ts'
import { reportOf, splitData } from '../encoders/rows.ts'
import { EntityCounts } from '../entities.ts'
import type { TrainEvent } from '../events.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'

interface TaggedRow {
  readonly ids: Int32Array
  /** The class of each token; -1 for those the tokenizer adds. */
  readonly labels: Int32Array
  /** The first token of each word, and the words' tags. */
  readonly firsts: Int32Array
  readonly tags: readonly string[]
}

/** A label for each word, by an encoder. */
export const tokenClassification: Task = { options: {}, open }

async function* open(context: TaskContext): AsyncGenerator<TrainEvent, Learner> {
  const { options, seed, threads } = context
  const base = needBase(context)
  const tokenizer = new PublishedTokenizer(base.tokenizerJson, base)
  const data = await splitData(context, async (file) => {
    const texts: TaggedText[] = []
    for await (const text of readTagged(file)) texts.push(text)
    return texts
  })
  const found = [...new Set(data.train.flatMap((text) => text.tags))].sort(
    (a, b) => Number(b === 'O') - Number(a === 'O') || (a < b ? -1 : 1),
  )
  // a version that knows them all goes on with its own
  const stranger = found.find((tag) => !base.labels.includes(tag))
  const tags = base.head.task === 'token-classification' && stranger === undefined ? base.labels : found
  if (stranger !== undefined && context.job.measure)
    throw fail('LABEL_UNKNOWN', {
      source: context.job.dataset.name,
      label: stranger.slice(0, 80),
      labels: base.labels.join(', ').slice(0, 300),
    })
  if (tags.length < 2) throw fail('ONE_CLASS', { label: tags[0] })
  for (const text of [...data.validation, ...data.test]) {
    const unknown = text.tags.find((tag) => !tags.includes(tag))
    if (unknown !== undefined)
      throw fail('LABEL_UNKNOWN', {
        source: 'the held-out data',
        label: unknown.slice(0, 80),
        labels: tags.join(', ').slice(0, 300),
      })
  }
  const encode = (texts: TaggedText[]) => encodeTagged(texts, tags, tokenizer)
  const [train, validation, test] = [await encode(data.train), await encode(data.validation), await encode(data.test)]
  const report = reportOf(data, { labels: countsOf(data.train.flatMap((text) => text.tags)) })
  yield { type: 'data', report }
  const network = encoderNetwork(base, { task: 'token-classification', classes: tags.length }, tags, options)
  const lengths = (rows: TaggedRow[]) => ({ rows: rows.length, length: (row: number) => rows[row].ids.length })
  const assemble = (all: TaggedRow[], rows: Int32Array) => {
    const picked = Array.from(rows, (row) => all[row])
    const { time, tensor: ids } = padded(
      picked.map((row) => row.ids),
      base.config.padding,
    )
    const labels = padded(
      picked.map((row) => row.labels),
      -1,
    ).tensor
    return {
      tensors: {
        ids,
        labels,
        lengths: whole(
          [rows.length],
          picked.map((row) => row.ids.length),
        ),
      },
      rows: rows.length,
      sizes: { time },
      weights: picked.map((row) => row.labels.reduce((sum, label) => sum + Number(label >= 0), 0)),
    }
  }
  const evaluate = (rows: TaggedRow[], model: ReturnType<typeof network.served>): Promise<Metrics> =>
    withSession(model, threads, async (session) => {
      const counts = new EntityCounts()
      for (const picked of evaluationBatches(lengths(rows), 32)) {
        const batch = assemble(rows, picked)
        const { probabilities } = await session.run(feedsOf(batch, ['ids', 'lengths']))
        const values = probabilities.data as Float32Array
        picked.forEach((at, r) => {
          const row = rows[at]
          const guessed = Array.from(row.firsts, (t) => {
            const scores = values.subarray(
              (r * batch.sizes.time + t) * tags.length,
              (r * batch.sizes.time + t + 1) * tags.length,
            )
            return tags[scores.indexOf(Math.max(...scores))]
          })
          counts.add(row.tags, guessed)
        })
      }
      return counts.metrics()
    })
  return {
    graph: network.graph,
    initial: network.initial,
    rows: train.length,
    batches: (epoch) => epochBatches(lengths(train), Number(options.batchSize), seed, epoch),
    assemble: (rows) => assemble(train, rows),
    async evaluate(weights, part) {
      const rows = part === 'test' ? test : validation
      return { metrics: await evaluate(rows, network.served(weights)), rows: rows.length }
    },
    chosenBy: { metric: 'f1', better: 'higher' },
    async bundle(weights) {
      const { manifest, files } = network.bundle(weights)
      const texts = data.test.map(({ words }) => words.join(' '))
      const reference = await taggerReference(network.served(weights), tokenizer, tags, texts, threads)
      return {
        manifest: { ...manifest, data: report, ...(reference && { reference }), dataset: data.dataset },
        files,
      }
    },
  }
}

/** What held-out texts look like to the model that will be served; undefined when they are too few. */
async function taggerReference(
  model: Parameters<typeof withSession>[0],
  tokenizer: PublishedTokenizer,
  tags: readonly string[],
  texts: readonly string[],
  threads: number,
): Promise<Reference | undefined> {
  const numbers = labelNumbers(tags)
  return withSession(model, threads, async (session) => {
    const rows: Read[] = []
    for (let from = 0; from < texts.length; from += 32) {
      const some = texts.slice(from, from + 32)
      const spans = (await tokenizer.spans(some)).map((one, i) => ({ ...one, text: some[i] }))
      spans.sort((a, b) => a.ids.length - b.ids.length) // the longest last
      const { probabilities } = await session.run(textFeeds(spans))
      const [, time, classes] = probabilities.dims
      spans.forEach((row, r) => {
        const at = r * time * classes
        const own = (probabilities.data as Float32Array).subarray(at, at + row.ids.length * classes)
        rows.push(readOf(row, entitiesOf(row, own, tags), numbers))
      })
    }
    return readReference(rows)
  })
}

/** Words joined by blanks, as texts come to be labelled; words that are cut off at the end are left out. */
async function encodeTagged(texts: TaggedText[], tags: string[], tokenizer: PublishedTokenizer): Promise<TaggedRow[]> {
  const rows: TaggedRow[] = []
  for (let from = 0; from < texts.length; from += 256) {
    const some = texts.slice(from, from + 256)
    const spans = await tokenizer.spans(some.map(({ words }) => words.join(' ')))
    some.forEach((text, i) => {
      const row = label(text, spans[i], tags)
      if (row.tags.length > 0) rows.push(row)
    })
  }
  return rows
}

/** The first token of a word learns its tag, the others that they go on with it. */
function label(
  { words, tags: given }: TaggedText,
  { ids, starts, ends, words: marks }: Spans,
  tags: string[],
): TaggedRow {
  const labels = new Int32Array(ids.length).fill(-1)
  const [firsts, kept]: [number[], string[]] = [[], []]
  let word = 0
  let end = words[0].length
  let first = true
  for (let t = 0; t < ids.length; t++) {
    if (marks[t] < 0 || ends[t] === starts[t]) continue
    while (starts[t] >= end && word + 1 < words.length) {
      word++
      end += 1 + words[word].length
      first = true
    }
    const tag = given[word]
    const inner = tags.indexOf(tag.replace(/^B-/, 'I-'))
    labels[t] = first || inner < 0 ? tags.indexOf(tag) : inner
    if (first) {
      firsts.push(t)
      kept.push(tag)
    }
    first = false
  }
  return { ids, labels, firsts: Int32Array.from(firsts), tags: kept }
}

function countsOf(tags: string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const tag of tags) counts[tag] = (counts[tag] ?? 0) + 1
  return counts
}
