import { Worker } from 'node:worker_threads'

/** What a piece of work may take from now on: microseconds of processor time, and bytes of memory. */
export interface Allowance {
  time: number
  memory: number
}

/** Ends this process by SIGKILL when its parent is gone or its work takes more than `allow` said, however busy it is. */
export interface Watchdog {
  allow(allowance: Allowance): void
  /** Between two pieces of work only the parent's end ends the process. */
  rest(): void
}

/** Sets a watchdog on this process, which is then looked at every 20 ms until it ends. */
export function watchdog(): Watchdog {
  const limits = new Float64Array(new SharedArrayBuffer(16)).fill(Number.POSITIVE_INFINITY)
  const file = import.meta.url.endsWith('.ts') ? './thread.ts' : './thread.js'
  new Worker(new URL(file, import.meta.url), { workerData: limits.buffer }).unref()
  return {
    allow({ time, memory }) {
      const { user, system } = process.cpuUsage()
      limits[0] = user + system + time
      limits[1] = process.memoryUsage.rss() + memory
    },
    rest() {
      limits.fill(Number.POSITIVE_INFINITY)
    },
  }
}
