import type { ChildProcess } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type AthanorError, asAthanorError, fail } from '../base/errors.ts'
import { checkName, modelNameFrom, newId } from '../base/ids.ts'
import { suggest } from '../base/suggest.ts'
import { readBundle } from '../bundle/bundle.ts'
import type { Registry } from '../registry/registry.ts'
import { Datasets } from '../store/datasets.ts'
import { assertRoom } from '../store/home.ts'
import { finishedStates, type RunRecord, RunRecords } from '../store/runs.ts'
import type { Store } from '../store/store.ts'
import type { RefineSpec, Run, RunSpec, RunState, TrainEvent } from './events.ts'
import type { DataSource, TrainJob } from './job.ts'
import type { RunJob, ToTrainer } from './process.ts'
import { Tenure } from './tenure.ts'
import { type NumberedEvent, Told } from './told.ts'
import { converse, failureOf, sourceIn, startTrainer } from './trainer.ts'

interface Active {
  run: string
  /** Absent until its job is ready. */
  child: ChildProcess | undefined
  /** How it is meant to end: by itself, because someone stopped it, for another process, or because one has it. */
  wanted: 'done' | 'cancelled' | 'interrupted' | 'handedOver' | 'lost'
  tenure?: Tenure
  ended: Promise<void>
}

/** Work that runs can be of: the process that does it, and the job it is sent. */
interface RunKind<Spec> {
  readonly worker: URL
  job(
    base: RunJob,
    spec: Spec,
    source: (dataset: string, part: string) => Promise<DataSource>,
    version: (ref: string) => Promise<NonNullable<TrainJob['from']>>,
  ): Promise<RunJob>
}

/** Refinement, which a room above this one does: `check` gives the name of the model it is of. */
export interface Refinement extends RunKind<RefineSpec> {
  check(spec: RefineSpec): Promise<string>
}

const training: RunKind<RunSpec> = {
  worker: new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
  async job(base, spec, source, version) {
    const job: TrainJob = { ...base, spec, dataset: await source(spec.dataset, 'train') }
    if (spec.validation !== undefined) job.validation = await source(spec.validation, 'validation')
    if (spec.from !== undefined) job.from = await version(spec.from)
    return job
  },
}

const isFinished = (state: string) => (finishedStates as readonly string[]).includes(state)
/** Ended runs that keep what is needed to go on with them. */
const isResumable = (state: string) => state === 'interrupted' || state === 'failed'

const DAY = 86_400_000
/** Milliseconds between two looks at a database that other processes work on too. */
const LOOK_EVERY = 500

/**
 * Training runs of this server: a queue worked off one at a time, each in a process of its own and at low priority. What
 * a run tells is stored, so that it can be followed from anywhere and after a restart.
 */
export class Runs {
  readonly #store: Store
  readonly #registry: Registry
  readonly #records: RunRecords
  /** This server, as others on the same database see it. */
  readonly #owner = newId('server')
  readonly #datasets: Datasets
  readonly #refinement: Refinement
  readonly #told: Told
  #active: Active | undefined
  #queue: string[] = []
  /** How runs ended that could not be stored so. */
  readonly #unsaved = new Map<string, Pick<RunRecord, 'state' | 'error'>>()
  #closed = false
  readonly #looking: NodeJS.Timeout | undefined
  /** Told of failures, for the error log. */
  onFailure: (run: string, error: AthanorError) => void = () => {}

  private constructor(store: Store, registry: Registry, refinement: Refinement) {
    this.#store = store
    this.#refinement = refinement
    this.#registry = registry
    this.#records = new RunRecords(store, store.shared ? this.#owner : undefined)
    this.#told = new Told(this.#records)
    if (store.shared) this.#looking = setInterval(() => void this.#look(), LOOK_EVERY).unref()
    this.#datasets = new Datasets(store)
  }

  /**
   * Opens the runs of a database. Where no other process can be at it, those that an earlier one left unfinished are
   * marked interrupted; otherwise whoever is free goes on with them.
   */
  static async open(store: Store, registry: Registry, refinement: Refinement): Promise<Runs> {
    const runs = new Runs(store, registry, refinement)
    if (store.shared) return runs
    for (const { run, state } of await runs.#records.list()) {
      if (!isFinished(state)) await runs.#end(run, 'interrupted')
    }
    return runs
  }

  get active(): number {
    return (this.#active ? 1 : 0) + this.#queue.length
  }

  /** Checks a specification and queues the run; throws OPTION_INVALID, DATA_NOT_FOUND, NAME_INVALID or DISK_FULL. */
  async create(given: RunSpec): Promise<Run> {
    // families and readers are needed here alone: a server that only serves is spared their memory
    const { optionsOf, withBase } = await import('./job.ts')
    const names = [await this.#nameOf(given.dataset)]
    const spec = withBase(given, names[0], given.from === undefined ? undefined : await this.#version(given.from))
    optionsOf(spec)
    if (spec.validation !== undefined) await this.#nameOf(spec.validation)
    assertRoom(this.#store.home)
    return this.#enqueue(checkName(spec.name ?? (modelNameFrom(names[0]) || 'model')), spec)
  }

  /** Checks a refinement and queues it; throws OPTION_INVALID, MODEL_NOT_FOUND, VERSION_NOT_FOUND or DATA_NOT_FOUND. */
  async refine(spec: RefineSpec): Promise<Run> {
    const model = await this.#refinement.check(spec)
    for (const dataset of [spec.heldOut, spec.data]) if (dataset !== undefined) await this.#nameOf(dataset)
    assertRoom(this.#store.home)
    return this.#enqueue(checkName(spec.name ?? model), spec)
  }

  async #enqueue(model: string, spec: RunSpec | RefineSpec): Promise<Run> {
    const record = await this.#records.create(model, spec)
    await this.#told.keep(record.run, { type: 'state', state: 'queued' })
    this.#queue.push(record.run)
    this.#startNext()
    return this.#asRun(record)
  }

  async get(run: string): Promise<Run> {
    const record = await this.#records.get(run)
    if (record) return this.#asRun(record)
    const known = (await this.#records.list()).map((other) => other.run)
    throw fail('RUN_NOT_FOUND', { run: run.slice(0, 80) }, { suggestion: suggest(run, known) })
  }

  async list(): Promise<Run[]> {
    return (await this.#records.list()).map((record) => this.#asRun(record))
  }

  /**
   * What a run told after event `after` (by default since it was last queued), and what it tells from now on, until it
   * has ended.
   */
  async *events(run: string, after = 0, signal?: AbortSignal): AsyncGenerator<NumberedEvent> {
    await this.get(run)
    const elsewhere = () => this.#store.shared && this.#active?.run !== run
    const ended = async (): Promise<TrainEvent[] | undefined> => {
      const { state, error } = await this.get(run)
      if (!isFinished(state)) return undefined
      if (!this.#unsaved.has(run)) return []
      return [...(error ? [{ type: 'failed', error } as const] : []), { type: 'state', state }]
    }
    yield* this.#told.follow(run, { after, elsewhere, ended, ...(signal && { signal }) })
  }

  /** What a run has told so far, all of it, with the time of each event. */
  async history(run: string): Promise<(NumberedEvent & { at: string })[]> {
    await this.get(run)
    return this.#told.stored(run, 0)
  }

  /** Ends a run for good. */
  async cancel(run: string): Promise<Run> {
    const { state } = await this.get(run)
    if (this.#active?.run === run) await this.#stop('cancelled')
    else if (await this.#isElsewhere(run)) await this.#records.want(run, 'cancelled')
    else if (!isFinished(state) || isResumable(state)) {
      this.#queue = this.#queue.filter((other) => other !== run)
      await this.#endAs(run, 'cancelled')
    }
    return this.get(run)
  }

  /** Stops a run so that it can be resumed. */
  async interrupt(run: string): Promise<Run> {
    await this.get(run)
    if (this.#active?.run === run) await this.#stop('interrupted')
    else if (await this.#isElsewhere(run)) await this.#records.want(run, 'interrupted')
    return this.get(run)
  }

  /** Whether another process works on a run. */
  async #isElsewhere(run: string): Promise<boolean> {
    return this.#store.shared && (await this.#records.isHeld(run))
  }

  /** Goes on with an interrupted or failed run from its last checkpoint; throws RUN_NOT_RESUMABLE. */
  async resume(run: string): Promise<Run> {
    const { state } = await this.get(run)
    if (!isResumable(state)) {
      throw fail('RUN_NOT_RESUMABLE', { run, reason: isFinished(state) ? `it is ${state}` : 'it is still going on' })
    }
    await this.#records.update(run, { state: 'queued', error: undefined })
    this.#unsaved.delete(run)
    await this.#told.keep(run, { type: 'state', state: 'queued' })
    this.#queue.push(run)
    this.#startNext()
    return this.get(run)
  }

  /**
   * Removes what runs that failed more than `days` ago, or have ended for good, still keep to go on with; what they told, and
   * why they failed, stays. Returns of how many runs.
   */
  async collect(days: number): Promise<number> {
    const before = new Date(Date.now() - days * DAY).toISOString()
    let cleared = 0
    for (const run of await readdir(this.#folder('')).catch(() => [])) {
      const record = await this.#records.get(run)
      if (!record || !isFinished(record.state) || record.state === 'interrupted') continue
      if (record.state === 'failed' && record.updatedAt > before) continue
      await this.#clear(run)
      cleared++
    }
    return cleared
  }

  /** Interrupts what is going on, resumably; where there are other processes, one of them goes on with it. */
  async close() {
    this.#closed = true
    clearInterval(this.#looking)
    if (!this.#store.shared) for (const run of this.#queue) await this.#end(run, 'interrupted')
    this.#queue = []
    await this.#stop(this.#store.shared ? 'handedOver' : 'interrupted')
  }

  /** Read anew: it changes while others wait. */
  #activeNow(): Active | undefined {
    return this.#active
  }

  #asRun(record: RunRecord): Run {
    return { ...record, ...this.#unsaved.get(record.run) } as Run
  }

  #folder(run: string): string {
    return join(this.#store.home, 'runs', run)
  }

  async #nameOf(dataset: string): Promise<string> {
    if (dataset.startsWith('npm:')) return (await import('../data/packages.ts')).parsePackageSpec(dataset).name
    return (await this.#datasets.get(dataset)).filename
  }

  /** Queues what no process works on, or one that is gone did. */
  async #look() {
    if (this.#active || this.#closed) return
    const free = await this.#records.claimable().catch(() => []) // the database is away: later
    for (const run of free) if (!this.#queue.includes(run)) this.#queue.push(run)
    this.#startNext()
  }

  #startNext() {
    if (this.#active || this.#closed) return
    const run = this.#queue.shift()
    if (run === undefined) return
    const active: Active = { run, child: undefined, wanted: 'done', ended: Promise.resolve() }
    this.#active = active
    active.ended = this.#work(active)
      .catch((error) => this.#failed(run, asAthanorError(error)))
      .catch((error) => this.onFailure(run, asAthanorError(error)))
      .finally(() => {
        this.#active = undefined
        this.#startNext()
      })
  }

  async #work(active: Active) {
    const { run } = active
    const folder = this.#folder(run)
    if (this.#store.shared) {
      const claimed = await this.#records.claim(run, this.#owner)
      if (!claimed) return // another took it
      this.#unsaved.delete(run)
      const who = { store: this.#store, records: this.#records, owner: this.#owner }
      active.tenure = new Tenure(who, { run, folder }, (how) => void this.#stop(how))
      if (claimed.wanted !== null) active.wanted = claimed.wanted as Active['wanted']
    }
    try {
      await this.#workOn(active, folder)
    } finally {
      await active.tenure?.end()
      if (active.wanted === 'handedOver') await this.#records.handOver(run, this.#owner)
    }
  }

  async #workOn(active: Active, folder: string) {
    const { run } = active
    const { spec, model } = await this.get(run)
    const kind: RunKind<never> = 'refine' in spec ? this.#refinement : training
    mkdirSync(folder, { recursive: true })
    await active.tenure?.fetchFiles()
    const stored = { store: this.#store, datasets: this.#datasets }
    const source = (dataset: string, part: string) => sourceIn(folder, dataset, stored, `${part}-`)
    const job = await kind.job({ run, folder }, spec as never, source, (ref) => this.#version(ref))
    if (active.wanted !== 'done') return this.#endAs(run, active.wanted)
    const child = startTrainer(kind.worker)
    active.child = child
    const outcome = await converse(child, job, {
      state: (state) => this.#state(run, state),
      keep: (event) => this.#told.keep(run, event),
      pass: (event) => this.#told.pass(run, event),
      progress: () => active.tenure?.keepFiles(),
    })
    const wanted = active.wanted as Active['wanted'] // changed while it worked
    if (outcome.type === 'stopped' || wanted !== 'done') {
      await this.#endAs(run, wanted === 'done' ? 'interrupted' : wanted)
    } else if (outcome.type === 'failed') {
      throw failureOf(outcome)
    } else {
      await this.#state(run, 'registering')
      const { manifest, files } = await readBundle(outcome.result.bundle)
      const { metrics, family } = manifest
      const { version } = await this.#registry.register(model, manifest, files, async (tx, number) => {
        const ours = await this.#records.update(run, { state: 'done', metrics, version: number }, tx)
        if (!ours) throw fail('RUN_NOT_RESUMABLE', { run, reason: 'another process has it' })
      })
      await this.#told.keep(run, { type: 'done', model, version, family, metrics, seconds: outcome.result.seconds })
      await this.#told.keep(run, { type: 'state', state: 'done' })
      await this.#clear(run)
    }
  }

  /** Removes what an ended run has left. */
  async #clear(run: string) {
    await rm(this.#folder(run), { recursive: true, force: true })
    await this.#records.dropFiles(run)
  }

  async #version(ref: string): Promise<NonNullable<TrainJob['from']>> {
    if (/^ds_[0-9a-z]+$/i.test(ref)) {
      const { digest } = await this.#datasets.get(ref)
      return { ref, files: { 'model.onnx': await this.#store.blobs.verify(digest) } }
    }
    const version = await this.#registry.resolve(ref)
    const { name, manifest } = version
    return { ref: `${name}@${version.version}`, manifest, files: await this.#registry.checkout(version) }
  }

  async #stop(wanted: Exclude<Active['wanted'], 'done'>) {
    const active = this.#activeNow()
    if (!active || active.wanted === wanted) return active?.ended
    active.wanted = wanted
    if (active.child?.connected) active.child.send({ type: 'stop' } satisfies ToTrainer, () => undefined)
    const patience = wanted === 'cancelled' || wanted === 'lost' ? 500 : 15_000
    const timer = globalThis.setTimeout(() => active.child?.kill('SIGKILL'), patience)
    await active.ended
    clearTimeout(timer)
  }

  async #failed(run: string, error: AthanorError) {
    const wanted = this.#activeNow()?.wanted
    if (wanted !== undefined && wanted !== 'done') return this.#endAs(run, wanted)
    this.onFailure(run, error)
    const told = error.code === 'DISK_FULL' ? fail('DISK_FULL', { run }, { cause: error }) : error
    const how = { state: 'failed' as const, error: told.toJSON() }
    this.#unsaved.set(run, how)
    try {
      const ours = await this.#records.update(run, how)
      this.#unsaved.delete(run)
      if (!ours) return
    } catch {
      // the reason may be a full disk: the run is told as failed all the same, and is interrupted after a restart
    }
    // what was measured and refused would be refused again
    if (error.code === 'GATE_REFUSED') await this.#clear(run).catch(() => undefined)
    await this.#told.keep(run, { type: 'failed', error: how.error }).catch(() => undefined)
    await this.#told.keep(run, { type: 'state', state: 'failed' }).catch(() => undefined)
  }

  async #state(run: string, state: RunState) {
    try {
      await this.#records.update(run, { state })
    } finally {
      await this.#told.keep(run, { type: 'state', state })
    }
  }

  /** Ends a run as it was stopped; one that others go on with is theirs to tell of. */
  async #endAs(run: string, how: Exclude<Active['wanted'], 'done'>) {
    if (how === 'cancelled') await this.#clear(run)
    if (how !== 'handedOver' && how !== 'lost') return this.#end(run, how)
    this.#told.pass(run, { type: 'state', state: 'interrupted' })
  }

  #end(run: string, state: RunState) {
    return this.#state(run, state)
  }
}
