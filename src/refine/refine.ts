import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import { openDataset } from '../data/dataset.ts'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import type { Sample } from '../data/samples.ts'
import { writeModel } from '../graph/codec.ts'
import type { GateEvent, TrainEvent } from '../train/events.ts'
import type { TrainResult } from '../train/job.ts'
import { classifierReference } from '../train/reference.ts'
import { type Goal, parseTolerance } from './gate/goal.ts'
import { type Candidate, type Measurement, measure } from './gate/measure.ts'
import { judge } from './gate/verdict.ts'
import { nameOf, type RefineJob, type Step, stepsOf } from './job.ts'
import type { PassContext } from './pass.ts'
import { readSubject, type Subject, samplesOf, servedBytes, writeSubject } from './subject.ts'

/** Rows that are read of a given data set to calibrate or measure with. */
const ROWS = 5000

/** A step that was taken, as the lineage of the result tells it. */
interface Taken {
  name: string
  options: Record<string, unknown>
  note: string
}

/**
 * Refines a version: carries out the passes, measures what came of them against the source in the same run, and writes a
 * bundle if nothing is worse than the tolerance. Throws GATE_REFUSED with the reasons in words otherwise.
 */
export async function* refine(job: RefineJob, stop: AbortSignal): AsyncGenerator<TrainEvent, TrainResult | undefined> {
  const started = performance.now()
  const { spec, source, folder } = job
  const steps = stepsOf(spec)
  yield { type: 'state', state: 'preparing' }
  const subject = readSubject(source.manifest, source.files)
  const heldOut = await heldOutRows(job, subject)
  const heldIn = samplesOf(subject, 'heldIn')
  const context: PassContext = {
    heldIn: heldIn.length > 0 ? heldIn : await rowsOf(job, 'data'),
    threads: availableParallelism(),
    folder,
    stop,
  }
  const original: Candidate = { manifest: source.manifest, files: source.files, size: servedBytes(subject) }
  const goal = parseTolerance(spec.tolerance)

  yield { type: 'state', state: 'refining' }
  const result = yield* takeSteps(subject, steps, context)
  if (stop.aborted) return undefined
  yield { type: 'state', state: 'measuring' }
  const what = nameOf(steps)
  const measurement = await measureAgainst(original, result.subject, join(folder, 'candidate'), heldOut, stop)
  if (stop.aborted) return undefined
  const event = gateEvent(what, measurement, goal, { forced: spec.force === true, chosen: true })
  yield event
  if (!event.accepted && !event.forced) throw fail('GATE_REFUSED', { reasons: event.reasons.join('; ') })

  const bundle = join(folder, 'bundle')
  const { manifest } = result.subject
  const lineage = {
    ...manifest.lineage,
    run: job.run,
    code,
    refinedFrom: { model: source.name, version: source.version },
    passes: result.taken,
    measurements: event.table,
    ...(!event.accepted && { forced: event.reasons }),
  }
  const metrics = { ...(measurement.rows > 0 ? { ...measurement.metrics, rows: measurement.rows } : manifest.metrics) }
  const { reference: _source, ...described } = manifest
  const reference = await referenceOf(result.subject, heldOut, context.threads)
  const createdAt = new Date().toISOString()
  await writeSubject(bundle, {
    ...result.subject,
    manifest: { ...described, metrics, ...(reference && { reference }), lineage, createdAt },
  })
  return { bundle, metrics, seconds: (performance.now() - started) / 1000 }
}

/** What the held-out rows look like to a refined classifier: it is not certain of the same texts as its source. */
async function referenceOf({ manifest, model, files }: Subject, heldOut: readonly Sample[], threads: number) {
  const tokenizer = files['tokenizer.json']
  if (manifest.task !== 'text-classification' || !tokenizer) return undefined
  const config = manifest.pipeline as unknown as PipelineConfig
  const pipeline = TextPipeline.load(config, Buffer.from(tokenizer).toString('utf8'))
  return classifierReference(writeModel(model), pipeline, manifest.labels, heldOut, threads)
}

/** Carries passes out one after another, telling of each. */
async function* takeSteps(
  subject: Subject,
  steps: readonly Step[],
  context: PassContext,
): AsyncGenerator<TrainEvent, { subject: Subject; taken: Taken[] }> {
  const taken: Taken[] = []
  let now = subject
  for (const { name, pass, options } of steps) {
    if (context.stop.aborted) break
    const { subject: next, note } = yield* pass.apply(now, options, context)
    now = next
    taken.push({ name, options: { ...options }, note })
    yield { type: 'pass', name, note }
  }
  return { subject: now, taken }
}

async function measureAgainst(
  original: Candidate,
  subject: Subject,
  folder: string,
  rows: readonly Sample[],
  stop: AbortSignal,
): Promise<Measurement> {
  const files = await writeSubject(folder, subject)
  const refined = { manifest: subject.manifest, files, size: servedBytes(subject) }
  return measure(original, refined, rows, { stop })
}

function gateEvent(
  what: string,
  { table, rows }: Measurement,
  goal: Goal,
  { forced, chosen }: { forced: boolean; chosen: boolean },
): GateEvent {
  const { accepted, reasons } = judge(table, goal, what)
  return {
    type: 'gate',
    what,
    rows,
    table: [...table],
    accepted,
    reasons: [...reasons],
    forced: forced && !accepted,
    chosen,
  }
}

/** Rows to judge by: those the version keeps, or those given. Throws REFINE_UNMEASURABLE for a classifier without any. */
async function heldOutRows(job: RefineJob, subject: Subject): Promise<Sample[]> {
  const rows = job.heldOut ? await rowsOf(job, 'heldOut') : samplesOf(subject, 'heldOut')
  if (rows.length === 0 && subject.manifest.task === 'text-classification') throw fail('REFINE_UNMEASURABLE', {})
  return rows
}

/** The first labelled rows of a data set of the job, of labels that the model knows. */
async function rowsOf({ spec, source, ...job }: RefineJob, which: 'heldOut' | 'data'): Promise<Sample[]> {
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
