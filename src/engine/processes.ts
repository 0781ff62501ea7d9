import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { getCompileCacheDir } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ToEngine } from './messages.ts'

/** Starts a process that can become an engine: an empty folder, no secrets in its environment, compiled code from the parent's cache. */
export function startProcess(): ChildProcess {
  const cwd = join(tmpdir(), 'athanor-engine')
  mkdirSync(cwd, { recursive: true })
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    serialization: 'advanced',
    cwd,
    execArgv: ['--disable-warning=ExperimentalWarning'],
    env: { PATH: process.env.PATH, LANG: process.env.LANG, NODE_COMPILE_CACHE: getCompileCacheDir() },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  child.on('error', () => undefined) // a message to a process that just died; its exit is handled
  return child
}

/** Milliseconds after one was taken until the next is got ready: what took it has the processors for itself. */
const REST = 1_000

/** A process that waits, with the libraries of most engines read, for a version to run: that saves most of an engine's start. */
export class Spare {
  readonly #rest: number
  #process: ChildProcess | undefined
  #timer: NodeJS.Timeout | undefined
  #llama: string | undefined
  #closed = false

  constructor(rest = REST) {
    this.#rest = rest
  }

  /**
   * The spare one, or a new one where there is none; the next is got ready soon after. Once one was taken for llama.cpp, with the
   * folder of its library, those that follow have read that as well.
   */
  take(llama?: string): ChildProcess {
    this.#llama ??= llama
    const taken = this.#process ?? startProcess()
    this.#process = undefined
    taken.ref()
    taken.channel?.ref()
    clearTimeout(this.#timer)
    if (!this.#closed) this.#timer = setTimeout(() => this.#prepare(), this.#rest).unref()
    return taken
  }

  close() {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#process?.kill('SIGKILL')
  }

  #prepare() {
    const child = startProcess()
    this.#process = child
    child.once('exit', () => {
      if (this.#process === child) this.#process = undefined
    })
    const llama = this.#llama
    child.send({ type: 'prepare', ...(llama !== undefined && { llama }) } satisfies ToEngine, () => undefined)
    child.unref() // nobody waits for it
    child.channel?.unref()
  }
}
