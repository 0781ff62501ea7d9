import { execFile } from 'node:child_process'

/** One GPU: shares 0 to 1, bytes, watts, degrees Celsius; what the driver does not tell is absent. */
export interface Gpu {
  index: number
  uuid: string
  name: string
  utilization?: number
  memory?: number
  memoryUsed?: number
  watts?: number
  temperature?: number
}

const FIELDS = 'index,uuid,name,utilization.gpu,memory.total,memory.used,power.draw,temperature.gpu'
const FRESH = 10_000
const TIMEOUT = 3_000

/** Asks NVIDIA's driver, at most every ten seconds, and never again on a machine without its program. */
export class Gpus {
  readonly #program: string
  #known: readonly Gpu[] = []
  #askedAt = Number.NEGATIVE_INFINITY
  #absent = false

  constructor(program = 'nvidia-smi') {
    this.#program = program
  }

  /** What was told last; asks anew beside, when that is old. */
  get now(): readonly Gpu[] {
    if (!this.#absent && performance.now() - this.#askedAt > FRESH) void this.ask()
    return this.#known
  }

  async ask(): Promise<readonly Gpu[]> {
    this.#askedAt = performance.now()
    const args = [`--query-gpu=${FIELDS}`, '--format=csv,noheader,nounits']
    return new Promise((resolve) => {
      const child = execFile(this.#program, args, { timeout: TIMEOUT, killSignal: 'SIGKILL' }, (error, text) => {
        if ((error as NodeJS.ErrnoException | null)?.code === 'ENOENT') this.#absent = true
        this.#known = error ? [] : parseGpus(text)
        resolve(this.#known)
      })
      child.unref()
    })
  }
}

/** Rows of `nvidia-smi --query-gpu`: comma-separated, without units; `[N/A]` is what it cannot tell. */
export function parseGpus(text: string): Gpu[] {
  return text
    .split('\n')
    .filter((line) => line.includes(','))
    .map((line) => {
      const [index, uuid, name, ...figures] = line.split(',').map((cell) => cell.trim())
      const [utilization, memory, memoryUsed, watts, temperature] = figures.map((cell) => {
        const value = Number.parseFloat(cell)
        return Number.isFinite(value) ? value : undefined
      })
      return {
        index: Number(index),
        uuid,
        name,
        ...(utilization !== undefined && { utilization: utilization / 100 }),
        ...(memory !== undefined && { memory: memory * 2 ** 20 }),
        ...(memoryUsed !== undefined && { memoryUsed: memoryUsed * 2 ** 20 }),
        ...(watts !== undefined && { watts }),
        ...(temperature !== undefined && { temperature }),
      }
    })
}
