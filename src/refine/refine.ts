import { rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'
import { version as code } from '../base/version.ts'
import type { GateEvent, TrainEvent } from '../train/events.ts'
import type { TrainResult } from '../train/job.ts'
import { withProgress } from '../train/progress.ts'
import type { Example } from './examples/example.ts'
import { examplesOf } from './examples/examples.ts'
import { type Goal, parseGoal, parseTolerance } from './gate/goal.ts'
import { type Candidate, type Measurement, measure } from './gate/measure.ts'
import { judge } from './gate/verdict.ts'
import { nameOf, type RefineJob, type Step, stepsOf } from './job.ts'
import type { PassContext, Training } from './pass.ts'
import { referenceOf } from './reference.ts'
import { choose, combinations, paretoBest, passedOver, type Tried, within } from './search.ts'
import { readSubject, type Subject, servedBytes, writeSubject } from './subject.ts'

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
  const { heldOut, heldIn } = await examplesOf(job, subject)
  const context: PassContext = {
    heldIn,
    threads: availableParallelism(),
    folder,
    stop,
    training: trainingOf(job, heldOut),
  }
  const original: Candidate = { manifest: source.manifest, files: source.files, size: servedBytes(subject) }
  const goal = parseTolerance(spec.tolerance, source.manifest.task)

  yield { type: 'state', state: 'refining' }
  const settled =
    spec.goal === undefined
      ? yield* carryOut(subject, steps, original, goal, heldOut, context)
      : yield* search(subject, original, withGoal(spec.goal, goal), heldOut, context)
  if (!settled || stop.aborted) return undefined
  const { result, measurement, what } = settled
  const event = gateEvent(what, measurement, settled.goal, { forced: spec.force === true, chosen: true })
  yield event
  if (!event.accepted && !event.forced) throw fail('GATE_REFUSED', { reasons: event.reasons.join('; ') })

  const bundle = join(folder, 'bundle')
  const { manifest } = result.subject
  const lineage = {
    ...manifest.lineage,
    run: job.run,
    code,
    refinedFrom: { model: source.name, version: source.version },
    passes: [...result.taken],
    measurements: event.table,
    ...(!event.accepted && { forced: event.reasons }),
  }
  const own = Object.keys(measurement.metrics).length > 0
  const metrics = own ? { ...measurement.metrics, rows: measurement.rows } : { ...manifest.metrics }
  const { reference: _source, ...described } = manifest
  // vectors of drawn texts tell nothing of what will be asked
  const real = manifest.task !== 'feature-extraction' || job.heldOut !== undefined
  const reference = real ? await referenceOf(result.subject, heldOut, context.threads) : undefined
  const createdAt = new Date().toISOString()
  await writeSubject(bundle, {
    ...result.subject,
    manifest: { ...described, metrics, ...(reference && { reference }), lineage, createdAt },
  })
  return { bundle, metrics, seconds: (performance.now() - started) / 1000 }
}

/** What passes that train have: columns as the version was trained with, where its own data was found. */
function trainingOf({ run, spec, source, data, heldOut: given }: RefineJob, heldOut: readonly Example[]): Training {
  const columns = (source.manifest.data?.columns ?? {}) as { text?: string; label?: string; group?: string }
  return {
    run,
    ...(data && { data }),
    ...(given && { heldOut: given }),
    read: spec.read ?? (spec.data === undefined ? columns : {}),
    seed: spec.seed ?? 1,
    options: spec.options ?? {},
    exclude: heldOut.map(({ text }) => text),
  }
}

/** A refined version, what was measured of it, and what it is held to. */
interface Settled {
  readonly what: string
  readonly result: Refined
  readonly measurement: Measurement
  readonly goal: Goal
}
interface Refined {
  readonly subject: Subject
  readonly taken: readonly Taken[]
}

async function* carryOut(
  subject: Subject,
  steps: readonly Step[],
  original: Candidate,
  goal: Goal,
  heldOut: readonly Example[],
  context: PassContext,
): AsyncGenerator<TrainEvent, Settled | undefined> {
  const result = yield* takeSteps(subject, steps, context)
  if (context.stop.aborted) return undefined
  yield { type: 'state', state: 'measuring' }
  const measurement = yield* measureAgainst(original, result.subject, heldOut, context, goal)
  return { what: nameOf(steps), result, measurement, goal }
}

/** Bounds of the goal, and of the tolerance for measures that the goal does not bound. */
function withGoal(text: string, tolerance: Goal): Goal {
  const asked = parseGoal(text)
  const named = new Set(asked.bounds.map(({ measure }) => measure))
  return { ...asked, bounds: [...asked.bounds, ...tolerance.bounds.filter(({ measure }) => !named.has(measure))] }
}

/** Tries combinations of passes, those that train only when none of the others keeps the bounds, and chooses one. */
async function* search(
  subject: Subject,
  original: Candidate,
  goal: Goal,
  heldOut: readonly Example[],
  context: PassContext,
): AsyncGenerator<TrainEvent, Settled | undefined> {
  const tried: (Tried<Refined> & { measurement: Measurement })[] = []
  /** What steps gave, by their names: combinations that begin alike share it. */
  const known = new Map<string, Refined>()
  const tryAll = async function* (combinations: readonly Step[][]): AsyncGenerator<TrainEvent, void> {
    for (const [index, steps] of combinations.entries()) {
      if (context.stop.aborted) return
      yield { type: 'trying', what: nameOf(steps), number: index + 1, of: combinations.length }
      let result: Refined = { subject, taken: [] }
      try {
        for (const [at, step] of steps.entries()) {
          const key = JSON.stringify(steps.slice(0, at + 1).map(({ name, options }) => [name, options]))
          const before = known.get(key)
          if (before) result = before
          else {
            const next = yield* takeSteps(result.subject, [step], context)
            result = { subject: next.subject, taken: [...result.taken, ...next.taken] }
          }
          if (step.name !== 'quantize') known.set(key, result)
        }
      } catch (error) {
        const told = passedOver(error)
        if (!told) throw error
        yield told
        continue
      }
      const what = nameOf(steps)
      yield { type: 'state', state: 'measuring' }
      const measurement = yield* measureAgainst(original, result.subject, heldOut, context, goal)
      tried.push({ what, table: measurement.table, result, measurement })
    }
  }
  const { cheap, dear } = combinations(context)
  yield* tryAll(cheap)
  if (!tried.some((one) => within(one, goal))) yield* tryAll(dear)
  if (context.stop.aborted) return undefined
  const best = new Set(paretoBest(tried))
  for (const one of tried) {
    const event = gateEvent(one.what, one.measurement, goal, { forced: false, chosen: false })
    yield { ...event, pareto: best.has(one) }
  }
  const chosen = choose(tried, goal)
  const measured = tried.find(({ result }) => result === chosen?.result)
  return measured && { what: measured.what, result: measured.result, measurement: measured.measurement, goal }
}

/** Carries passes out one after another, telling of each. */
async function* takeSteps(
  subject: Subject,
  steps: readonly Step[],
  context: PassContext,
): AsyncGenerator<TrainEvent, Refined> {
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

/** Measures a refined version beside the source; its files are there only as long as engines run them. */
async function* measureAgainst(
  original: Candidate,
  subject: Subject,
  rows: readonly Example[],
  { folder: within, stop }: PassContext,
  goal: Goal,
): AsyncGenerator<TrainEvent, Measurement> {
  const folder = join(within, 'candidate')
  try {
    const files = await writeSubject(folder, subject)
    const refined = { manifest: subject.manifest, files, size: servedBytes(subject) }
    return yield* withProgress((tell) =>
      measure(original, refined, rows, {
        stop,
        goal,
        tell: (share) => tell('measuring', Math.round(share * 100), 100),
      }),
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function gateEvent(
  what: string,
  { table, rows }: Measurement,
  goal: Goal,
  { forced, chosen }: { forced: boolean; chosen: boolean },
): GateEvent {
  const { accepted, missed, reasons } = judge(table, goal, what)
  return {
    type: 'gate',
    what,
    rows,
    table: [...table],
    accepted,
    missed: [...missed],
    reasons: [...reasons],
    forced: forced && !accepted,
    chosen,
  }
}
