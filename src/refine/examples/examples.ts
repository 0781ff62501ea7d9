import { fail } from '../../base/errors.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import type { RefineJob } from '../job.ts'
import type { Subject } from '../subject.ts'
import { type Examples, ROWS } from './example.ts'
import { imageExamples } from './images.ts'
import { classifierExamples, drawnTexts, givenTexts } from './texts.ts'
import { writtenExamples } from './written.ts'

/** What is measured with, by task; drawn where a task needs no truth and none is given. */
const sources: Record<Manifest['task'], (job: RefineJob, subject: Subject) => Promise<Examples>> = {
  'text-classification': classifierExamples,
  'image-classification': imageExamples,
  'text-generation': writtenExamples,
  'feature-extraction': textsOrDrawn,
  'fill-mask': textsOrDrawn,
  'token-classification': textsOrDrawn,
  tensor: async () => ({ heldOut: [], heldIn: [] }),
}

/**
 * The examples of a version: those it keeps, those given, or those that its training data was split into. Throws
 * REFINE_UNMEASURABLE where the task needs truth and there is none.
 */
export async function examplesOf(job: RefineJob, subject: Subject): Promise<Examples> {
  const found = await sources[subject.manifest.task](job, subject)
  if (found.heldOut.length === 0 && subject.manifest.task !== 'tensor') throw fail('REFINE_UNMEASURABLE', {})
  return found
}

async function textsOrDrawn(job: RefineJob, subject: Subject): Promise<Examples> {
  const [given, data] = [await givenTexts(job, 'heldOut'), await givenTexts(job, 'data')]
  const drawn = () => drawnTexts(subject, ROWS / 5)
  return {
    heldOut: given.length > 0 ? given : drawn().slice(0, ROWS / 10),
    heldIn: data.length > 0 ? data : drawn().slice(ROWS / 10),
  }
}
