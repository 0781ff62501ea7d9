import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { trainerFlags } from '../../src/train/trainer.ts'

/** The most memory that a process ever had resident, in MB. */
function peakMemory(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024
}

/** Runs one of our scripts here as processes of training run: its path and arguments. */
export const asTrainer = (script: string, ...args: string[]) =>
  [process.execPath, [...trainerFlags, fileURLToPath(new URL(script, import.meta.url)), ...args]] as const

/** A process that trains when asked: one line to it, one line of JSON from it. */
export class Racer {
  readonly #child
  readonly #lines
  readonly times: number[] = []
  #processor = 0

  constructor(command: string, args: readonly string[]) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]()
  }

  async ask<T>(line?: string): Promise<T> {
    if (line) this.#child.stdin.write(`${line}\n`)
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`${this.#child.spawnargs.join(' ')} ended`)
    return JSON.parse(value) as T
  }

  /** Takes steps for so long and remembers how long each took. */
  async run(seconds: number) {
    const before = this.#ticks()
    this.times.push(...(await this.ask<number[]>(`time ${seconds}`)))
    this.#processor += this.#ticks() - before
  }

  /** Milliseconds of processor time a step, over all threads; what waits in a loop counts. */
  get processor(): number {
    return (this.#processor * 10) / this.times.length
  }

  get peakMemory(): number {
    return peakMemory(this.#child.pid!)
  }

  end() {
    this.#child.stdin.end()
  }

  /** Processor time so far in hundredths of a second. */
  #ticks(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1].split(' ')
    return Number(fields[11]) + Number(fields[12])
  }
}
