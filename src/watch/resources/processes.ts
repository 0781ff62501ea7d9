import { readdirSync, readFileSync } from 'node:fs'

/** What a process uses: bytes, seconds of processor time since its start, threads, open file descriptors. */
export interface ProcessUse {
  rss: number
  cpuSeconds: number
  /** Undefined where the system does not tell them. */
  threads?: number
  handles?: number
}

/** Ticks of processor time in a second, as every Linux of today counts them (`getconf CLK_TCK`). */
const TICKS = 100
const PAGE = 4096

/** What this process uses. */
export function ownUse(): ProcessUse {
  const { user, system } = process.cpuUsage()
  const more = useOf(process.pid)
  return {
    rss: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1e6,
    ...(more?.threads !== undefined && { threads: more.threads }),
    ...(more?.handles !== undefined && { handles: more.handles }),
  }
}

/** What a process uses by Linux's /proc (proc(5)); undefined on other systems and once it has ended. */
export function useOf(pid: number, proc = '/proc'): ProcessUse | undefined {
  try {
    const stat = readFileSync(`${proc}/${pid}/stat`, 'utf8')
    // the name in parentheses may hold anything, so fields are counted from the last one
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const field = (number: number) => Number(fields[number - 3])
    return {
      rss: field(24) * PAGE,
      cpuSeconds: (field(14) + field(15)) / TICKS,
      threads: field(20),
      handles: readdirSync(`${proc}/${pid}/fd`).length,
    }
  } catch {
    return undefined
  }
}
