import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Around } from '../autograd/imported.ts'
import { fail } from '../base/errors.ts'
import { readBundle } from '../bundle/bundle.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { TrainEvent } from '../train/events.ts'
import { optionsOf, type TrainJob } from '../train/job.ts'
import type { Task } from '../train/learner.ts'
import type { Teacher } from '../train/lessons.ts'
import type { Options } from '../train/options.ts'
import { openImageClassifier } from '../train/tasks/image-classification.ts'
import { type Learning, openTextClassifier } from '../train/tasks/text-classification.ts'
import { train } from '../train/train.ts'
import { pipelineOf } from './inputs.ts'
import type { PassContext } from './pass.ts'
import { readSubject, type Subject, withModel, writeSubject } from './subject.ts'

/** What a pass trains: a family with its options, weights to begin with, and whether the source teaches. */
export interface Lesson {
  readonly family: string
  /** Options of the family and the loop; what the refinement was given stands above them. */
  readonly options: Options
  readonly initial?: Learning['initial']
  readonly teacher?: Teacher
  /** A network in the place of the family's. */
  readonly graph?: Learning['graph']
}

/**
 * Trains a classifier on the source's training data, with its pipeline and labels, and without the rows that the result is
 * judged by. Throws REFINE_NEEDS_DATA when the data is not here.
 */
export async function* learn(
  subject: Subject,
  context: PassContext,
  { family, options, initial, teacher, graph }: Lesson,
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
  const taught = teacher && [teacher.temperature, teacher.share, teacher.hidden, teacher.states]
  const job: TrainJob = {
    run: training.run,
    folder: folderFor(context.folder, [family, options, initial && shapesOf(initial), graph !== undefined, taught]),
    spec,
    dataset: training.data,
    ...(training.validation && { validation: training.validation }),
  }
  const learning: Learning = {
    known: { pipeline: pipelineOf(subject), labels },
    exclude: training.exclude,
    ...(initial && { initial }),
    ...(teacher && { teacher }),
    ...(graph && { graph }),
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

/** Trains the graph of an image classifier on. */
export const learnImages = (subject: Subject, context: PassContext, options: Options, around?: Around) =>
  goOn(subject, context, { family: 'onnx-images', options, what: around !== undefined }, (opened) =>
    openImageClassifier(opened, around),
  )

/** A training that begins with a version: its family and task, and what tells it from others in the same folder. */
interface Further {
  readonly family: string
  readonly task?: string
  readonly options: Options
  readonly what?: unknown
}

/**
 * Trains a version further on the source's training data: split by the version's own seed, so that what it is judged by stays
 * out of it. Throws REFINE_NEEDS_DATA when that is not here.
 */
export async function* goOn(
  subject: Subject,
  { training, folder, stop }: PassContext,
  { family, task, options, what }: Further,
  open?: Task['open'],
): AsyncGenerator<TrainEvent, Subject> {
  const { manifest } = subject
  const { lineage } = manifest
  if (!training.data) throw fail('REFINE_NEEDS_DATA', { source: lineage.dataset?.source ?? 'it has no lineage' })
  const begun = join(folder, 'begun')
  const files = await writeSubject(begun, subject)
  const spec = {
    dataset: training.data.path,
    family,
    ...(task !== undefined && { task }),
    from: lineage.run ?? 'source',
    seed: lineage.seed ?? 1,
    options: given({ ...options, ...training.options }),
  }
  optionsOf(spec)
  const job: TrainJob = {
    run: training.run,
    folder: folderFor(folder, [
      options,
      subject.model.graph!.initializer.map(({ name, dims }) => [name, dims.map(Number)]),
      what,
    ]),
    spec,
    dataset: training.data,
    ...(training.heldOut && { validation: training.heldOut }),
    from: { ref: spec.from, manifest, files },
  }
  const result = yield* train(job, stop, open)
  if (!result) return subject // stopped
  const bundle = await readBundle(result.bundle)
  const { model } = readSubject(bundle.manifest, bundle.files)
  const learnt = withModel(subject, model)
  return { ...learnt, manifest: { ...learnt.manifest, parameters: bundle.manifest.parameters } }
}

/** A folder for one training among several of a refinement: the same again when that goes on after a pause. */
const folderFor = (folder: string, what: unknown): string =>
  join(folder, `training-${createHash('sha256').update(JSON.stringify(what)).digest('hex').slice(0, 12)}`)

const shapesOf = (weights: NonNullable<Learning['initial']>) =>
  Object.entries(weights).map(([name, { dims }]) => [name, dims])

/** Options as a version was trained with, of the names that its family still has. */
export const trainedWith = ({ lineage }: Manifest): Options => (lineage.options ?? {}) as Options

const given = (options: Options): Record<string, number | string | boolean> =>
  Object.fromEntries(
    Object.entries(options).flatMap(([name, value]) => (value === null ? [] : [[name, value] as const])),
  )
