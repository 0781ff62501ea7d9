import { chmodSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fail, isDiskFull } from '../base/errors.ts'

/** Where a running server can be reached; written for other processes of the same user. */
export interface ServerInfo {
  url: string
  pid: number
  /** What to send instead of a key, where keys are required. */
  key?: string
  /** It is a command's, and ends with it. */
  passing?: boolean
}

/** Something that one process has at a time. */
export interface Lock {
  release(): void
}

/**
 * Takes a file for this process until `release` or the process ends; undefined while another has it. It is SQLite's
 * exclusive lock on a small database, which the operating system gives back whatever happens to the process.
 */
export function takeLock(path: string): Lock | undefined {
  const lock = new DatabaseSync(path)
  try {
    lock.exec('pragma locking_mode = exclusive; begin exclusive')
  } catch (error) {
    lock.close()
    const full = isDiskFull(error)
    if (full) throw full
    return undefined
  }
  return { release: () => lock.close() }
}

/**
 * Makes the data folder (private to its user) and takes it for this process until `release` or the process ends. Throws
 * HOME_BUSY or HOME_UNUSABLE.
 */
export function lockHome(home: string): Lock {
  let lock: Lock | undefined
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 })
    chmodSync(home, 0o700)
    lock = takeLock(join(home, 'lock'))
  } catch (error) {
    throw isDiskFull(error) ?? fail('HOME_UNUSABLE', { reason: reasonOf(error) }, { cause: error })
  }
  if (!lock) throw fail('HOME_BUSY', { pid: readOwner(home) ?? 'unknown' })
  writeFileSync(join(home, 'owner'), String(process.pid))
  return lock
}

/** Has all that this process, and those that it starts from now on, write for a while lie in a folder. */
export function writeTemporaryIn(folder: string) {
  for (const name of ['TMPDIR', 'TEMP', 'TMP']) process.env[name] = folder
}

/** Bytes that uploads, runs and checkpoints leave free, so that the database can go on. */
const RESERVE = 64 << 20

/** Throws DISK_FULL when `bytes` more would leave less than the reserve on the folder's disk. */
export function assertRoom(folder: string, bytes = 0) {
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize - bytes < RESERVE) throw fail('DISK_FULL')
}

const reasonOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? 'it cannot be opened'

const readText = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
const readOwner = (home: string) => readText(join(home, 'owner'))

const infoPath = (home: string) => join(home, 'server.json')

export function writeServerInfo(home: string, info: ServerInfo) {
  writeFileSync(infoPath(home), JSON.stringify(info), { mode: 0o600 })
}

export const removeServerInfo = (home: string) => rmSync(infoPath(home), { force: true })

/** The server that says it runs on a data folder; undefined when none does or its process is gone. */
export function readServerInfo(home: string): ServerInfo | undefined {
  const text = readText(infoPath(home))
  if (!text) return undefined
  try {
    const info = JSON.parse(text) as ServerInfo
    process.kill(info.pid, 0)
    return info
  } catch {
    return undefined
  }
}
