import { streamOf, uniformAt } from '../../base/counter.ts'
import { fail } from '../../base/errors.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import { textLines } from '../../data/records.ts'
import { type Read, scriptOf } from '../../drift/features.ts'
import { readReference } from '../../drift/reference.ts'
import { feedsOf } from '../assemble.ts'
import type { Batch } from '../batch.ts'
import { epochBatches, evaluationBatches } from '../batches.ts'
import { needBase } from '../encoders/base.ts'
import { encoderNetwork, padded, whole, withSession } from '../encoders/network.ts'
import { reportOf, splitData } from '../encoders/rows.ts'
import type { TrainEvent } from '../events.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'

/** Words guessed from what is around them: an encoder is pretrained further on plain text (Devlin et al. 2019). */
export const fillMask: Task = { options: {}, open }

/** Lines tokenized at once. */
const AT_ONCE = 512
/** Lines that requests are compared with. */
const SAMPLE = 4_000
/** Tokens of one line; longer ones go on in further rows. */
const LINE_LIMIT = 1 << 20

async function* open(context: TaskContext): AsyncGenerator<TrainEvent, Learner> {
  const { options, seed, threads } = context
  const base = needBase(context)
  const { padding, vocabulary } = base.config
  const tokenizer = new PublishedTokenizer(base.tokenizerJson, { maxLength: LINE_LIMIT })
  const { mask } = tokenizer
  if (!mask)
    throw fail('UNSUPPORTED', {
      what: 'guessing words with a tokenizer that has no mask',
      instead: 'Start from another model.',
    })
  const { special } = tokenizer
  // requests come as the lines do, not as rows that are filled with them: some of all, each as likely (Vitter 1985)
  const sample: Read[] = []
  let seen = 0
  const see = (line: string, ids: Int32Array) => {
    const at = seen < SAMPLE ? seen : Math.floor(uniformAt(seed, streamOf('lines'), seen) * (seen + 1))
    seen++
    if (at < SAMPLE) sample[at] = { ids: ids.filter((id) => !special.has(id)), script: scriptOf(line) }
  }
  const data = await splitData(context, async (file) => {
    const rows: Int32Array[] = []
    const pack = new Packer(base.maxLength, rows)
    ;[sample.length, seen] = [0, 0] // of a file that is held out, its lines alone
    let lines: string[] = []
    const flush = async () => {
      for (const [i, ids] of (await tokenizer.encode(lines)).entries()) {
        pack.add(ids)
        see(lines[i], ids)
      }
      lines = []
    }
    for await (const line of textLines(file)) {
      if (line.trim() !== '') lines.push(line.trim())
      if (lines.length === AT_ONCE) await flush()
    }
    await flush()
    pack.close()
    return rows
  })
  const report = reportOf(data)
  yield { type: 'data', report }
  const network = encoderNetwork(base, { task: 'fill-mask' }, [], options)
  const lengths = (rows: Int32Array[]) => ({ rows: rows.length, length: (row: number) => rows[row].length })
  const masking = { mask: mask.id, special, vocabulary, share: Number(options.masked), seed }
  const assemble = (all: Int32Array[], rows: Int32Array, name: string): Batch =>
    maskedBatch(all, rows, { ...masking, stream: streamOf(name) }, padding)
  const evaluate = (rows: Int32Array[], model: ReturnType<typeof network.served>, name: string): Promise<Metrics> =>
    withSession(model, threads, async (session) => {
      let [loss, right, guessed] = [0, 0, 0]
      for (const picked of evaluationBatches(lengths(rows), 8)) {
        const batch = assemble(rows, picked, name)
        const { probabilities } = await session.run(feedsOf(batch, ['ids', 'lengths', 'positions']))
        const values = probabilities.data as Float32Array
        ;(batch.tensors.labels.data as BigInt64Array).forEach((label, i) => {
          if (label < 0n) return
          const scores = values.subarray(i * vocabulary, (i + 1) * vocabulary)
          const truth = scores[Number(label)]
          loss -= Math.log(Math.max(truth, 1e-12))
          guessed++
          if (scores.every((score) => score <= truth)) right++
        })
      }
      return { loss: loss / guessed, perplexity: Math.exp(loss / guessed), accuracy: right / guessed }
    })
  return {
    graph: network.graph,
    initial: network.initial,
    rows: data.train.length,
    batches: (epoch) => epochBatches(lengths(data.train), Number(options.batchSize), seed, epoch),
    assemble: (rows, epoch) => assemble(data.train, rows, `masks ${epoch}`),
    async evaluate(weights, part) {
      const rows = part === 'test' ? data.test : data.validation
      // the same words are asked for after every epoch
      return { metrics: await evaluate(rows, network.served(weights), `masks of ${part}`), rows: rows.length }
    },
    chosenBy: { metric: 'loss', better: 'lower' },
    async bundle(weights) {
      const { manifest, files } = network.bundle(weights)
      const reference = readReference(sample)
      return {
        manifest: { ...manifest, data: report, ...(reference && { reference }), dataset: data.dataset },
        files,
      }
    },
  }
}

/** Fills rows with line after line, whole where they fit (Liu et al. 2019, FULL-SENTENCES), between the tokens that frame a text. */
class Packer {
  readonly #room: number
  readonly #rows: Int32Array[]
  #frame: [number, number] | undefined
  #pending: number[] = []

  constructor(maxLength: number, rows: Int32Array[]) {
    this.#room = maxLength - 2
    this.#rows = rows
  }

  add(ids: Int32Array) {
    this.#frame ??= [ids[0], ids[ids.length - 1]]
    const line = ids.subarray(1, ids.length - 1)
    if (this.#pending.length > 0 && this.#pending.length + line.length > this.#room) this.close()
    for (let from = 0; from < line.length; from += this.#room) {
      const piece = line.subarray(from, from + this.#room)
      if (this.#pending.length + piece.length > this.#room) this.close()
      this.#pending.push(...piece)
    }
  }

  close() {
    if (this.#pending.length === 0) return
    this.#rows.push(Int32Array.of(this.#frame![0], ...this.#pending, this.#frame![1]))
    this.#pending = []
  }
}

interface Masking {
  readonly mask: number
  readonly special: ReadonlySet<number>
  readonly vocabulary: number
  readonly share: number
  readonly seed: number
  readonly stream: number
}

/**
 * Rows with some words hidden: of those to be guessed 80 % are masked, 10 % replaced by others, 10 % left (Devlin et al.
 * 2019). Which, depends on seed, stream, row and place alone.
 */
function maskedBatch(all: readonly Int32Array[], rows: Int32Array, masking: Masking, padding: number): Batch {
  const { mask, special, vocabulary, share, seed, stream } = masking
  const hidden = Array.from(rows, (row) => {
    const truth = all[row]
    const draw = (t: number, n: number) => uniformAt(seed, stream, 3 * (row * 8192 + t) + n)
    const able = [...truth.keys()].filter((t) => !special.has(truth[t]))
    const chosen = able.filter((t) => draw(t, 0) < share)
    // a text with nothing to guess would teach nothing
    if (chosen.length === 0 && able.length > 0) chosen.push(able[Math.floor(draw(0, 1) * able.length)])
    const ids = Int32Array.from(truth)
    for (const t of chosen) {
      const how = draw(t, 1)
      if (how < 0.8) ids[t] = mask
      else if (how < 0.9) ids[t] = Math.floor(draw(t, 2) * vocabulary)
    }
    return { ids, places: chosen, labels: chosen.map((t) => truth[t]) }
  })
  const { time, tensor: ids } = padded(
    hidden.map((row) => row.ids),
    padding,
  )
  const positions = padded(hidden.map(({ places }) => places))
  const labels = padded(
    hidden.map((row) => row.labels),
    -1,
  )
  const lengths = whole(
    [rows.length],
    hidden.map((row) => row.ids.length),
  )
  return {
    tensors: { ids, lengths, positions: positions.tensor, labels: labels.tensor },
    rows: rows.length,
    sizes: { time, places: positions.time },
    weights: hidden.map(({ places }) => places.length),
  }
}
