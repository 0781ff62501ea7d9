import { join } from 'node:path'
import { TextCodec } from '../../data/codec.ts'
import { openCorpus } from '../../data/corpus/corpus.ts'
import { prepareCorpus, type TokenPart } from '../../data/corpus/prepare.ts'
import { generationConfig } from '../../data/generation.ts'
import { stretchesOf } from '../../train/corpus.ts'
import type { RefineJob } from '../job.ts'
import type { Subject } from '../subject.ts'
import type { Example, Examples } from './example.ts'
import { givenTexts } from './texts.ts'

/** Tokens of a text to measure with, and how many texts there are at most. */
const [TOKENS, TEXTS] = [64, 256]

/** Given texts, or the held-out part of the corpus that the version learnt to write from, split anew by its own seed. */
export async function writtenExamples(job: RefineJob, subject: Subject): Promise<Examples> {
  const given = (await givenTexts(job, 'heldOut')).slice(0, TEXTS)
  if (!job.data) return { heldOut: given, heldIn: [] }
  const { manifest, files } = subject
  const config = generationConfig(manifest.pipeline)
  const corpus = await openCorpus(job.data.path, { ...job.spec.read, name: job.data.name })
  const json = Buffer.from(files['tokenizer.json']).toString('utf8')
  const codec = TextCodec.load(json)
  const prepared = await prepareCorpus({
    corpus,
    tokenizer: { json, config },
    context: TOKENS,
    seed: manifest.lineage.seed ?? 1,
    folder: join(job.folder, 'corpus'),
  })
  const texts = (part: TokenPart): Example[] => {
    const stretches = stretchesOf(prepared, part, Math.min(TOKENS, config.context - 1))
    const count = Math.min(TEXTS, stretches.rows)
    return Array.from({ length: count }, (_, i) => {
      const tokens = stretches.tokens(Math.floor((i * stretches.rows) / count), 0)
      return {
        text: codec.decode(Array.from(tokens, (id) => (id < 0 ? -1 - id : id))),
        label: '',
      }
    }).filter(({ text }) => text.trim() !== '')
  }
  const same = prepared.digest === manifest.lineage.dataset?.digest
  const { train, validation, test = validation } = prepared
  return { heldOut: given.length > 0 ? given : same ? texts(test) : [], heldIn: texts(train) }
}
