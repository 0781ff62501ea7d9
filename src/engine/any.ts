import { readFileSync } from 'node:fs'
import type { Egress } from '../base/egress.ts'
import { SEALED_KEY } from '../bundle/bundle.ts'
import type { Window } from '../drift/sketch.ts'
import { Engine, type EngineOptions, type EngineSpec, type EngineState, type NewRequest } from './engine.ts'
import type { EngineOutput, EngineStats, GenerationEvent, GenerationRequest, Timings } from './messages.ts'
import { findOnDemand } from './on-demand.ts'
import { type Spare, startProcess } from './processes.ts'

interface Limits {
  signal?: AbortSignal
  /** Milliseconds the call may take. */
  deadline: number
  /** Sent to see that the engine answers; nobody's request. */
  canary?: boolean
}

/** What runs a version: a child process of ours (src/engine/engine.ts), or another server (src/engine/remote). */
export interface AnyEngine {
  readonly spec: EngineSpec
  readonly loadedAt: string
  readonly state: EngineState
  readonly ready: Promise<void>
  readonly pid: number | undefined
  /** Requests that came, and those that are not answered. */
  readonly requests: number
  readonly waiting: number
  /** Milliseconds that what is waiting will take, where that is known. */
  readonly expectedWait?: number
  request(what: NewRequest, limits: Limits): Promise<{ output: EngineOutput; timings: Timings }>
  generate(generation: GenerationRequest, limits: Limits): AsyncGenerator<GenerationEvent, undefined>
  /** Batches that its process had run when it last answered; absent for other servers'. */
  readonly batches?: number
  stats(): Promise<EngineStats | undefined>
  /** Waits for what is in flight, up to `grace` milliseconds. */
  stop(grace?: number): Promise<void>
  onCrash: (reason: string) => void
  onWindow: (window: Window) => void
}

/** What an engine may reach outside this process tree, and how it reads the keys for it. */
export interface Outside {
  readonly egress: Egress
  /** The folder of engines that were installed on demand. */
  readonly engines: string
  /** Brings processes that have started already; without it each starts when it is needed. */
  readonly spare?: Spare
  readonly secrets: {
    /** The text that was sealed for a use. */
    unseal(sealed: Uint8Array, of: string): string
  }
}

/** What a key is sealed for: it is sent to no other server. */
export const keyUse = (url: string) => `upstream ${new URL(url).origin}`

/** Starts the engine of a version. Throws HOST_FORBIDDEN, SECRET_UNREADABLE or ENGINE_MISSING; what loading throws comes from `ready`. */
export async function openEngine(
  spec: EngineSpec,
  options: Partial<EngineOptions>,
  { egress, secrets, engines, spare }: Outside,
): Promise<AnyEngine> {
  const { remote, engine } = spec.manifest
  const newProcess = spare && (() => spare.take())
  if (engine === 'llama' || engine === 'transformers') {
    const library = await findOnDemand(engine, engines)
    const writes = engine === 'llama' && spec.manifest.task === 'text-generation'
    const inTurn = () => spare?.takeForLlama(library) ?? startProcess(true)
    return new Engine({ ...spec, library }, options, writes ? inTurn : newProcess)
  }
  if (!remote) return new Engine(spec, options, newProcess)
  const { RemoteEngine } = await import('./remote/remote.ts')
  const sealed = spec.files[SEALED_KEY]
  const key = sealed === undefined ? undefined : secrets.unseal(readFileSync(sealed), keyUse(remote.url))
  return new RemoteEngine(spec, egress, key)
}
