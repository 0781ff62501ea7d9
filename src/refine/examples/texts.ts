import { random } from '../../base/random.ts'
import { openCorpus } from '../../data/corpus/corpus.ts'
import { openDataset } from '../../data/dataset.ts'
import type { Sample } from '../../data/samples.ts'
import type { RefineJob } from '../job.ts'
import { type Subject, samplesOf } from '../subject.ts'
import { type Examples, ROWS } from './example.ts'

/** Rows that the bundle keeps, or those given. */
export async function classifierExamples(job: RefineJob, subject: Subject): Promise<Examples> {
  const kept = samplesOf(subject, 'heldIn')
  return {
    heldOut: job.heldOut ? await labelledRows(job, 'heldOut') : samplesOf(subject, 'heldOut'),
    heldIn: kept.length > 0 ? kept : await labelledRows(job, 'data'),
  }
}

/** The first labelled rows of a data set of the job, of labels that the model knows. */
async function labelledRows({ spec, source, ...job }: RefineJob, which: 'heldOut' | 'data'): Promise<Sample[]> {
  const given = job[which]
  if (!given) return []
  const { labels } = source.manifest
  const dataset = await openDataset(given.path, { ...spec.read, labels, name: given.name })
  const rows: Sample[] = []
  try {
    for await (const { text, label } of dataset.rows()) {
      if (label === undefined || text.trim() === '') continue
      rows.push({ text, label })
      if (rows.length === ROWS) break
    }
  } finally {
    await dataset.close()
  }
  return rows
}

/** The first texts of a data set of the job, whatever their labels; running text is taken line by line. */
export async function givenTexts({ spec, ...job }: RefineJob, which: 'heldOut' | 'data'): Promise<Sample[]> {
  const given = job[which]
  if (!given) return []
  const corpus = await openCorpus(given.path, { ...spec.read, name: given.name })
  const rows: Sample[] = []
  for await (const piece of corpus.pieces()) {
    const texts = 'text' in piece ? piece.text.split('\n') : piece.messages.map(({ content }) => content)
    for (const text of texts) {
      if (text.trim() !== '') rows.push({ text, label: '' })
      if (rows.length === ROWS) return rows
    }
  }
  return rows
}

/** Texts of words drawn from the model's own vocabulary: they tell whether two graphs say the same, not whether it is true. */
export function drawnTexts({ files }: Subject, count: number): Sample[] {
  const { model } = JSON.parse(Buffer.from(files['tokenizer.json']).toString('utf8')) as {
    model: { vocab: Record<string, number> | [string, number][] }
  }
  const all = Array.isArray(model.vocab) ? model.vocab.map(([token]) => token) : Object.keys(model.vocab)
  const words = all.filter((token) => /^[▁Ġ]?\p{L}+$/u.test(token)).map((token) => token.replace(/^[▁Ġ]/u, ''))
  const next = random(1)
  const below = (limit: number) => Math.floor(next() * limit)
  return Array.from({ length: count }, () => ({
    text: Array.from({ length: 4 + below(28) }, () => words[below(words.length)] ?? '').join(' '),
    label: '',
  }))
}
