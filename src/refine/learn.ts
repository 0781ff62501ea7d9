import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import { readBundle } from '../bundle/bundle.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { createRunner } from '../engine/runner.ts'
import { writeModel } from '../graph/codec.ts'
import type { TrainEvent } from '../train/events.ts'
import { optionsOf, type TrainJob } from '../train/job.ts'
import type { Teacher } from '../train/lessons.ts'
import type { Options } from '../train/options.ts'
import { type Learning, openTextClassifier } from '../train/tasks/text-classification.ts'
import { train } from '../train/train.ts'
import { pipelineOf } from './inputs.ts'
import type { PassContext } from './pass.ts'
import { readSubject, type Subject } from './subject.ts'

/** What a pass trains: a family with its options, weights to begin with, and whether the source teaches. */
export interface Lesson {
  readonly family: string
  /** Options of the family and the loop; what the refinement was given stands above them. */
  readonly options: Options
  readonly initial?: Learning['initial']
  readonly teacher?: Teacher
}

/**
 * Trains a classifier on the source's training data, with its pipeline and labels, and without the rows that the result is
 * judged by. Throws REFINE_NEEDS_DATA when the data is not here.
 */
export async function* learn(
  subject: Subject,
  context: PassContext,
  { family, options, initial, teacher }: Lesson,
): AsyncGenerator<TrainEvent, Subject> {
  const { training, stop } = context
  const { manifest } = subject
  const { labels, lineage } = manifest
  if (!training.data) throw fail('REFINE_NEEDS_DATA', { source: lineage.dataset?.source ?? 'it has no lineage' })
  const spec = {
    dataset: training.data.path,
    family,
    dropUnlabelled: true,
    read: { ...training.read, labels: [...labels] },
    seed: training.seed,
    options: given({ ...options, ...training.options, heldInRows: 0, heldOutRows: 0 }),
  }
  optionsOf(spec)
  const job: TrainJob = {
    run: training.run,
    folder: join(context.folder, `${family}-training`),
    spec,
    dataset: training.data,
  }
  const learning: Learning = {
    known: { pipeline: pipelineOf(subject), labels },
    exclude: training.exclude,
    ...(initial && { initial }),
    ...(teacher && { teacher }),
  }
  const result = yield* train(job, stop, (opened) => openTextClassifier(opened, learning))
  if (!result) return subject // stopped
  const bundle = await readBundle(result.bundle)
  const learnt = readSubject(bundle.manifest, bundle.files)
  const { dataset, ...how } = learnt.manifest.lineage
  return {
    ...learnt,
    manifest: { ...learnt.manifest, lineage: { ...how, ...(lineage.dataset && { dataset: lineage.dataset }) } },
    files: { ...subject.files, ...learnt.files },
  }
}

/** The source as a teacher: it reads texts through its own pipeline, as it is served. */
export async function teacherOf(
  { manifest, model, files }: Subject,
  { temperature, share }: { temperature: number; share: number },
  threads: number,
): Promise<Teacher> {
  const all: Record<string, Uint8Array> = { ...files, 'model.onnx': writeModel(model) }
  const runner = await createRunner(manifest, (file) => all[file], { threads, tokenBudget: 8192 })
  return {
    temperature,
    share,
    async answers(texts) {
      for await (const answer of runner.run([{ id: 1, at: 0, kind: 'texts', texts: [...texts] }])) {
        if ('error' in answer)
          throw fail('BAD_REQUEST', { message: `the teacher cannot read a text: ${answer.error.code}` })
        if (answer.output.kind === 'texts') return answer.output.probabilities
      }
      throw fail('UNSUPPORTED', {
        what: 'a teacher that gives no probabilities',
        instead: 'Classifiers of texts can teach.',
      })
    },
  }
}

/** Options as a version was trained with, of the names that its family still has. */
export const trainedWith = ({ lineage }: Manifest): Options => (lineage.options ?? {}) as Options

const given = (options: Options): Record<string, number | string | boolean> =>
  Object.fromEntries(
    Object.entries(options).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const])),
  )
