import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ToEngine } from './messages.ts'

/** Scheduling priority below the control process's, so that it keeps answering while engines work. */
const NICENESS = 5
/** Empty, and the same for all: outside of the folder that this process is given for what it writes for a while. */
const cwd = join(tmpdir(), 'athanor-engine')

/**
 * Starts a process that can become an engine: an empty folder, no secrets in its environment, compiled code from the parent's cache.
 * `inTurn`: what its event loop hands to other threads runs on one of them, in the order in which it was handed over.
 */
export function startProcess(inTurn = false): ChildProcess {
  mkdirSync(cwd, { recursive: true })
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    serialization: 'advanced',
    cwd,
    execArgv: ['--disable-warning=ExperimentalWarning'],
    env: {
      PATH: process.env.PATH,
      LANG: process.env.LANG,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      ...(inTurn && { UV_THREADPOOL_SIZE: '1' }),
    },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  try {
    // now, since threads take it from the one that starts them
    if (child.pid !== undefined) setPriority(child.pid, NICENESS)
  } catch {
    // some systems do not let a process lower another's priority; the engine runs all the same
  }
  child.on('error', () => undefined) // a message to a process that just died; its exit is handled
  return child
}

/** Milliseconds after one was taken until the next is got ready: what took it has the processors for itself. */
const REST = 1_000

/** A process that waits, with the libraries of most engines read, for a version to run: that saves most of an engine's start. */
export class Spare {
  readonly #rest: number
  readonly #llama: string | undefined
  #ofLlama: Spare | undefined
  #process: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `llama`: the folder of the library that it has read as well. */
  constructor(rest = REST, llama?: string) {
    this.#rest = rest
    this.#llama = llama
  }

  /** The spare one, or a new one where there is none; the next is got ready soon after. */
  take(): ChildProcess {
    const taken = this.#process ?? startProcess(this.#llama !== undefined)
    this.#process = undefined
    taken.ref()
    taken.channel?.ref()
    clearTimeout(this.#timer)
    if (!this.#closed) this.#timer = setTimeout(() => this.#prepare(), this.#rest).unref()
    return taken
  }

  /** One in which llama.cpp, from this folder, writes texts; once one was taken, another waits beside those for other models. */
  takeForLlama(folder: string): ChildProcess {
    this.#ofLlama ??= new Spare(this.#rest, folder)
    return this.#ofLlama.take()
  }

  close() {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#process?.kill('SIGKILL')
    this.#ofLlama?.close()
  }

  #prepare() {
    const llama = this.#llama
    const child = startProcess(llama !== undefined)
    this.#process = child
    child.once('exit', () => {
      if (this.#process === child) this.#process = undefined
    })
    child.send({ type: 'prepare', ...(llama !== undefined && { llama }) } satisfies ToEngine, () => undefined)
    child.unref() // nobody waits for it
    child.channel?.unref()
  }
}
