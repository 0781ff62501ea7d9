import { fail } from '../base/errors.ts'
import type { Window } from '../drift/sketch.ts'
import { type AnyEngine, type Outside, openEngine } from '../engine/any.ts'
import type { EngineOptions } from '../engine/engine.ts'
import { type EngineStats, monotonic } from '../engine/messages.ts'
import type { Registry, Version } from '../registry/registry.ts'
import { exampleRequests } from './examples.ts'
import type { Holding, Memory } from './memory.ts'

export interface LoadedEngine {
  model: string
  version: number
  pid: number | undefined
  state: string
  loadedAt: string
  requests: number
  waiting: number
  /** Kept in memory whether or not it is asked. */
  pinned: boolean
  /** Seconds since it was last asked. */
  idleSeconds: number
  stats?: EngineStats
}

/** How a model is served; what is absent is chosen by the size of the version. */
export interface Serving {
  pinned?: boolean
  /** Milliseconds without a request after which its engines are ended, instead of the server's; 0 for never. */
  keepAlive?: number
  replicas?: number
  threads?: number
  tokenBudget?: number
}

/** A version in memory: its engines, how many calls hold it, since when none does, and the bytes it takes. */
interface Place extends Holding {
  readonly version: Version
  engines: AnyEngine[]
  ready: Promise<void>
  calls: number
  usedAt: number
  measuredAt: number
  footprint: number
  leaving?: Promise<void>
}

/** An engine that is not ended until it is given back. */
export interface Lease {
  readonly engine: AnyEngine
  release(): void
}

/** Bytes that an engine process takes before it has read a bundle, and how much a bundle grows in memory: first guesses. */
const ENGINE_BASE = 80e6
const GROWTH = 2
/** Milliseconds between two looks at what is idle and how large engines have grown. */
const SWEEP = 1_000
/** How long a version may be warmed up, in milliseconds, and with how many rows. */
const WARM_LIMIT = 2_000
const WARM_ROWS = [1, 8, 32]

/**
 * Versions in memory. One is loaded when it is first asked for, ended when idle for long or, least recently used first, when
 * memory is needed for another, and never while a call holds it.
 */
export class Engines {
  readonly #registry: Registry
  readonly #keepAlive: number
  readonly #memory: Memory
  readonly #outside: Outside
  readonly #options: Partial<EngineOptions>
  readonly #places = new Map<string, Place>()
  /** Those in use, those that come to replace one, and those that are ending. */
  readonly #all = new Set<Place>()
  /** Bytes that versions took when they were last loaded. */
  readonly #measured = new Map<string, number>()
  readonly #sweeper: NodeJS.Timeout
  #closed = false
  servingOf: (model: string) => Serving = () => ({})
  onCrash: (version: Version, reason: string) => void = () => {}
  onWindow: (version: Version, window: Window) => void = () => {}

  constructor(
    registry: Registry,
    { keepAlive, memory, outside }: { keepAlive: number; memory: Memory; outside: Outside },
    options: Partial<EngineOptions> = {},
  ) {
    this.#registry = registry
    this.#keepAlive = keepAlive
    this.#memory = memory
    this.#outside = outside
    this.#options = options
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP).unref()
  }

  /** The least busy engine of a version, loaded if need be. Throws MODEL_NOT_READY, MEMORY_FULL and what loading throws. */
  async lease(version: Version): Promise<Lease> {
    const place = this.#place(version)
    place.calls++
    const release = () => {
      place.calls--
      place.usedAt = monotonic()
    }
    try {
      if (place.engines.length === 0 || place.engines.some(({ state }) => state === 'starting')) await place.ready
      return { engine: leastBusy(place.engines), release }
    } catch (error) {
      release()
      throw error
    }
  }

  /** Loads a version and runs it on examples, so that the first callers meet a warm one. */
  async load(version: Version): Promise<void> {
    const known = this.#places.has(keyOf(version))
    const { engine, release } = await this.lease(version)
    try {
      if (!known) await this.#warm(version, engine)
    } finally {
      release()
    }
  }

  /** Starts a version anew beside what serves it, and lets the new engines take over when they are warm. */
  async reload(version: Version): Promise<void> {
    const old = this.#places.get(keyOf(version))
    if (!old) return
    const place = this.#open(version)
    await place.ready
    await this.#warm(version, place.engines[0])
    this.#places.set(keyOf(version), place)
    void this.#end(old)
  }

  /** Ends the engines of a version, after the calls that hold them; true if there were any. */
  async unload(version: Pick<Version, 'name' | 'version'>): Promise<boolean> {
    const place = this.#places.get(keyOf(version))
    if (place) await this.#end(place)
    return place !== undefined
  }

  has(name: string, version: number): boolean {
    const place = this.#places.get(keyOf({ name, version }))
    return place?.engines.some(({ state }) => state !== 'starting') ?? false
  }

  /** Versions of a model that are in memory. */
  versionsOf(name: string): Version[] {
    return [...this.#places.values()].map(({ version }) => version).filter((version) => version.name === name)
  }

  /** Batches that the engines of a version have run, as they last told: none is asked, so a busy one delays nothing. */
  batches(model: string, version: number): number {
    return this.running
      .filter(({ spec }) => spec.name === model && spec.version === version)
      .reduce((sum, { batches = 0 }) => sum + batches, 0)
  }

  /** Those that answer requests now. */
  get running(): readonly AnyEngine[] {
    return [...this.#places.values()].flatMap(({ engines }) => engines.filter(({ state }) => state !== 'starting'))
  }

  async list(): Promise<LoadedEngine[]> {
    const now = monotonic()
    const lines = [...this.#places.values()].flatMap((place) =>
      place.engines.filter(({ state }) => state !== 'starting').map((engine) => ({ place, engine })),
    )
    return Promise.all(
      lines.map(async ({ place, engine }) => {
        const { pid, state, loadedAt, requests, waiting } = engine
        const { name: model, version } = place.version
        const stats = await engine.stats()
        return {
          model,
          version,
          pid,
          state,
          loadedAt,
          requests,
          waiting,
          pinned: this.servingOf(model).pinned === true,
          idleSeconds: place.calls > 0 ? 0 : Math.max(0, Math.round((now - place.usedAt) / 1000)),
          ...(stats && { stats }),
        }
      }),
    )
  }

  async close() {
    this.#closed = true
    clearInterval(this.#sweeper)
    await Promise.all([...this.#all].map((place) => this.#end(place, 5000)))
  }

  #place(version: Version): Place {
    const key = keyOf(version)
    const known = this.#places.get(key)
    if (known) {
      // a broken one is given up, so that the next request starts afresh
      const broken = known.engines.length > 0 && known.engines.every(({ state }) => state === 'broken')
      if (!broken) return known
      void this.#end(known)
    }
    const place = this.#open(version)
    this.#places.set(key, place)
    return place
  }

  #open(version: Version): Place {
    if (this.#closed) throw fail('MODEL_NOT_READY', { name: version.name, reason: 'the server is shutting down' })
    const place: Place = {
      version,
      engines: [],
      ready: Promise.resolve(),
      calls: 0,
      usedAt: monotonic(),
      measuredAt: 0,
      footprint: this.#measured.get(keyOf(version)) ?? guess(version),
      spare: () => place.calls === 0 && !place.leaving && !this.servingOf(version.name).pinned,
      end: () => this.#end(place),
    }
    this.#all.add(place)
    this.#memory.add(place)
    place.ready = this.#start(place)
    place.ready.catch(() => this.#end(place))
    return place
  }

  async #start(place: Place) {
    const { version } = place
    const { name, version: number, manifest } = version
    const [files] = await Promise.all([this.#registry.checkout(version), this.#memory.makeRoom(place, name)])
    if (this.#closed) throw fail('MODEL_NOT_READY', { name, reason: 'the server is shutting down' })
    const { replicas = 1, threads, tokenBudget } = this.servingOf(name)
    const options = {
      ...(threads !== undefined && { threads }),
      ...(tokenBudget !== undefined && { tokenBudget }),
      ...this.#options,
    }
    const spec = { name, version: number, manifest, files }
    const count = manifest.remote ? 1 : replicas
    place.engines = await Promise.all(
      Array.from({ length: count }, async () => {
        const engine = await openEngine(spec, options, this.#outside)
        engine.onCrash = (reason) => this.onCrash(version, reason)
        engine.onWindow = (window) => this.onWindow(version, window)
        return engine
      }),
    )
    await Promise.all(place.engines.map(({ ready }) => ready))
    await this.#measure(place)
    await this.#memory.makeRoom(place, name) // it may have turned out larger than was thought
  }

  async #measure(place: Place) {
    const stats = await Promise.all(place.engines.map((engine) => engine.stats()))
    if (stats.some((one) => one === undefined)) return // one is busy or restarting: the last figure stays
    const bytes = stats.reduce((sum, one) => sum + one!.rss, 0)
    place.measuredAt = monotonic()
    place.footprint = bytes
    this.#measured.set(keyOf(place.version), bytes)
  }

  /** Ends what has been idle for long; what was used since it was measured has perhaps grown. */
  async #sweep() {
    for (const place of this.#places.values()) {
      if (!place.spare()) continue
      const { keepAlive = this.#keepAlive } = this.servingOf(place.version.name)
      if (keepAlive > 0 && monotonic() - place.usedAt > keepAlive) void this.#end(place)
      else if (place.measuredAt < place.usedAt) await this.#measure(place)
    }
    await this.#memory.settle()
  }

  /** Takes a place out of use at once, and ends its engines when no call holds them. */
  #end(place: Place, grace = 10_000): Promise<void> {
    const key = keyOf(place.version)
    if (this.#places.get(key) === place) this.#places.delete(key)
    place.leaving ??= (async () => {
      await place.ready.catch(() => undefined)
      const until = monotonic() + grace
      while (place.calls > 0 && monotonic() < until) await new Promise((resolve) => setTimeout(resolve, 5))
      await Promise.all(place.engines.map((engine) => engine.stop(Math.max(0, until - monotonic()))))
      this.#all.delete(place)
      this.#memory.remove(place)
    })()
    return place.leaving
  }

  /** Runs a version on what it is usually asked: one row, a few, many. What it makes of them is of no interest. */
  async #warm(version: Version, engine: AnyEngine) {
    if (version.manifest.remote) return // each request is paid for
    const files = await this.#registry.checkout(version)
    const until = monotonic() + WARM_LIMIT
    for (const rows of WARM_ROWS) {
      for (const request of await exampleRequests(version.manifest, files, 1, rows)) {
        const deadline = until - monotonic()
        if (deadline <= 0) return
        await engine.request(request, { deadline }).catch(() => undefined)
      }
    }
  }
}

/** The engine with the least to do, of those that can do anything. */
function leastBusy(engines: readonly AnyEngine[]): AnyEngine {
  let best = engines[0]
  for (const engine of engines) {
    const better = engine.state === best.state ? engine.waiting < best.waiting : engine.state === 'ready'
    if (better) best = engine
  }
  return best
}

const guess = ({ manifest, files }: Version) =>
  manifest.remote ? 0 : ENGINE_BASE + GROWTH * files.reduce((sum, { bytes }) => sum + bytes, 0)
const keyOf = ({ name, version }: Pick<Version, 'name' | 'version'>) => `${name}@${version}`
