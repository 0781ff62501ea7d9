import { readFileSync, statfsSync, statSync } from 'node:fs'
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os'
import { join } from 'node:path'
import { type Cgroup, readCgroup } from './cgroup.ts'
import { type Gpu, Gpus } from './gpu.ts'

export type { ProcessUse } from './processes.ts'

/** What the machine has and uses, in bytes and processors. */
export interface Machine {
  host: { processors: number; load: number; memory: number; available: number }
  cgroup?: Cgroup
  /** The disk of the data folder, and its database on it. */
  disk?: { size: number; free: number; database: number }
  gpus: readonly Gpu[]
}

const gpus = new Gpus()

/** The machine as it is now; some files of /proc and /sys are read, nothing is waited for. */
export function readMachine(home: string): Machine {
  const cgroup = readCgroup()
  const disk = diskOf(home)
  return {
    host: {
      processors: availableParallelism(),
      load: loadavg()[0],
      memory: totalmem(),
      available: availableMemory() ?? freemem(),
    },
    ...(cgroup && { cgroup }),
    ...(disk && { disk }),
    gpus: gpus.now,
  }
}

/** Memory that can be had without swapping, as Linux estimates it. */
function availableMemory(): number | undefined {
  try {
    const [, kilobytes] = /^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8')) ?? []
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
  } catch {
    return undefined
  }
}

function diskOf(home: string): Machine['disk'] {
  try {
    const { bsize, blocks, bavail } = statfsSync(home)
    const size = (file: string) => statSync(join(home, file), { throwIfNoEntry: false })?.size ?? 0
    return { size: blocks * bsize, free: bavail * bsize, database: size('athanor.sqlite') + size('athanor.sqlite-wal') }
  } catch {
    return undefined
  }
}
