import { createWriteStream, type WriteStream } from 'node:fs'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { random } from '../base/random.ts'
import { openDataset } from '../data/dataset.ts'
import type { DataSource } from '../train/job.ts'
import type { Teacher } from '../train/lessons.ts'
import type { Inventor } from './invent.ts'
import type { PassContext } from './pass.ts'
import type { Subject } from './subject.ts'

const AT_ONCE = 256
/** Where texts are made up, a tenth of the real ones is kept to choose weights by. */
const CHOOSING = 10

/** Training data that a teacher has filled up. */
export interface Filled {
  readonly data: DataSource | undefined
  /** Rows to choose weights by, where texts were made up: none of those is among them. */
  readonly validation?: DataSource
  /** Rows that had no label, and texts that were made up. */
  readonly filled: number
  readonly invented: number
}

/**
 * The training data with the teacher's own answer in the place of each missing label, so that texts without labels teach as
 * well, and with `times` texts made up of each that it answers likewise; the data as it is where there is neither.
 */
export async function labelledBy(
  teacher: Teacher,
  { manifest }: Subject,
  { training, folder }: PassContext,
  { times, invent }: { times: number; invent?: Inventor } = { times: 0 },
): Promise<Filled> {
  const { data, read, seed } = training
  const { labels } = manifest
  if (!data) return { data, filled: 0, invented: 0 }
  const dataset = await openDataset(data.path, { ...read, name: data.name })
  const source = (name: string): DataSource => ({ path: join(folder, name), name })
  const [learnt, choosing] = [source('labelled.jsonl'), source('choosing.jsonl')]
  const [out, apart] = [learnt, choosing].map(({ path }) => createWriteStream(path))
  const next = random(seed)
  const [counts, waiting] = [
    { rows: 0, filled: 0, invented: 0 },
    [] as { text: string; label?: string; to: WriteStream }[],
  ]
  const flush = async () => {
    const open = waiting.filter(({ label }) => label === undefined)
    const said =
      open.length > 0 ? (await teacher.answers(open.map(({ text }) => text))).probabilities : new Float32Array()
    const answers = open.map((_, row) => {
      const scores = said.subarray(row * labels.length, (row + 1) * labels.length)
      return labels[scores.indexOf(Math.max(...scores))]
    })
    for (const { text, label, to } of waiting.splice(0))
      to.write(`${JSON.stringify({ text, label: label ?? answers.shift() })}\n`)
  }
  try {
    for await (const { text, label } of dataset.rows()) {
      if (text.trim() === '' || (label !== undefined && label !== '' && !labels.includes(label))) continue
      const chosen = invent !== undefined && counts.rows++ % CHOOSING === 0
      if (!label) counts.filled++
      waiting.push({ text, ...(label && { label }), to: chosen ? apart : out })
      for (let i = 0; i < times && invent && !chosen; i++) {
        const made = invent(text, next)
        if (made === undefined) continue
        counts.invented++
        waiting.push({ text: made, to: out })
      }
      if (waiting.length >= AT_ONCE) await flush()
    }
    await flush()
    for (const stream of [out, apart]) stream.end()
    await Promise.all([finished(out), finished(apart)])
  } finally {
    await dataset.close()
  }
  const { filled, invented } = counts
  if (invented > 0) return { data: learnt, validation: choosing, filled, invented }
  return { data: filled > 0 ? learnt : data, filled, invented }
}
