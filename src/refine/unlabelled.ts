import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { openDataset } from '../data/dataset.ts'
import type { DataSource } from '../train/job.ts'
import type { Teacher } from '../train/lessons.ts'
import type { PassContext } from './pass.ts'
import type { Subject } from './subject.ts'

const AT_ONCE = 256

/**
 * The training data with the teacher's own answer in the place of each missing label, so that texts without labels teach as
 * well; the data as it is where none is missing. How many were filled in is told.
 */
export async function labelledBy(
  teacher: Teacher,
  { manifest }: Subject,
  { training, folder }: PassContext,
): Promise<{ data: DataSource | undefined; filled: number }> {
  const { data, read } = training
  const { labels } = manifest
  if (!data) return { data, filled: 0 }
  const path = join(folder, 'labelled.jsonl')
  const dataset = await openDataset(data.path, { ...read, name: data.name })
  const out = createWriteStream(path)
  let [filled, waiting]: [number, { text: string; label?: string }[]] = [0, []]
  const flush = async () => {
    const open = waiting.filter(({ label }) => label === undefined)
    const said =
      open.length > 0 ? (await teacher.answers(open.map(({ text }) => text))).probabilities : new Float32Array()
    const answers = open.map((_, row) => {
      const scores = said.subarray(row * labels.length, (row + 1) * labels.length)
      return labels[scores.indexOf(Math.max(...scores))]
    })
    filled += open.length
    for (const { text, label } of waiting) out.write(`${JSON.stringify({ text, label: label ?? answers.shift() })}\n`)
    waiting = []
  }
  try {
    for await (const { text, label } of dataset.rows()) {
      if (text.trim() === '' || (label !== undefined && label !== '' && !labels.includes(label))) continue
      waiting.push({ text, ...(label && { label }) })
      if (waiting.length === AT_ONCE) await flush()
    }
    await flush()
    out.end()
    await finished(out)
  } finally {
    await dataset.close()
  }
  return filled > 0 ? { data: { path, name: 'labelled.jsonl' }, filled } : { data, filled }
}
