// The process in which changed files are read: `src/formats/fuzz.test.ts` starts it, watches it and ends it when it hangs.
import { writeFileSync } from 'node:fs'
import { AthanorError } from '../base/errors.ts'
import type { Files } from '../formats/source.ts'
import { readers } from './readers.ts'

/** What the process is told: how many files of each reader, from which seed they are changed, of which reader alone. */
export interface FuzzJob {
  rounds: number
  seed: number
  only?: string
}

/** What it tells: the files of the reader whose turn it is, each round as it begins, what a round did wrong, what a reader took at most. */
export type FromFuzz =
  | { type: 'reader'; reader: string; files: Files }
  | { type: 'round'; round: number }
  | { type: 'wrong'; reason: string }
  | { type: 'read'; reader: string; rounds: number; seconds: number; bytes: number }

/** Microseconds of processor time that reading one file may take. */
const TIME_LIMIT = 2_000_000
/** Bytes that reading may take beyond twice the file's size: what JavaScript's heap leaves lying. */
const MEMORY_FREE = 96 << 20

/** Numbers that are functions of the seed and the round, so that a round can be had again alone. */
function numbers(seed: number, round: number): () => number {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(round + 1, 0xc2b2ae35) || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** One of the files, with bytes changed, cut, repeated and overwritten with numbers that are large or negative. */
export function mutation(
  files: Files,
  { seed }: Pick<FuzzJob, 'seed'>,
  round: number,
): { name: string; bytes: Uint8Array } {
  const next = numbers(seed, round)
  const names = Object.keys(files)
  const name = names[next() % names.length]
  const bytes = new Uint8Array(files[name])
  const times = 1 + (next() % 8)
  for (let i = 0; i < times; i++) {
    const at = next() % bytes.length
    const kind = next() % 5
    if (kind === 0) bytes[at] ^= 1 << (next() % 8)
    else if (kind === 1) bytes.fill(0xff, at, at + 1 + (next() % 8))
    else if (kind === 2) bytes.fill(0, at, at + 1 + (next() % 8))
    else if (kind === 3) bytes.copyWithin(at, next() % bytes.length, next() % bytes.length)
    else return { name, bytes: bytes.subarray(0, at) }
  }
  return { name, bytes }
}

/** Forgets the largest memory that this process had so far, where the system can: each file's is its own. */
function forgetPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {}
}

const tell = (message: FromFuzz) => new Promise((resolve) => process.send!(message, resolve))

async function fuzz({ rounds, seed, only }: FuzzJob) {
  const all = (await readers()).filter(({ name }) => only === undefined || name === only)
  for (const { name: reader, files, read } of all) {
    await tell({ type: 'reader', reader, files })
    await read(files) // libraries that are loaded when first used are not the first file's doing
    let [seconds, most] = [0, 0]
    for (let round = 0; round < rounds; round++) {
      const { name, bytes } = mutation(files, { seed }, round)
      await tell({ type: 'round', round })
      forgetPeak()
      const before = { time: process.cpuUsage(), peak: process.resourceUsage().maxRSS }
      const wrong = await read({ ...files, [name]: bytes }).then(
        () => undefined,
        (error: unknown) => {
          const refused = error instanceof AthanorError && (error.status < 500 || error.code === 'UNSUPPORTED')
          return refused ? undefined : `it threw ${error instanceof Error ? error.stack : error}`
        },
      )
      if (wrong) await tell({ type: 'wrong', reason: wrong })
      const { user, system } = process.cpuUsage(before.time)
      seconds = Math.max(seconds, (user + system) / 1e6)
      if (user + system > TIME_LIMIT) await tell({ type: 'wrong', reason: `it took ${(user + system) / 1e6} s` })
      const grown = (process.resourceUsage().maxRSS - before.peak) * 1024
      most = Math.max(most, grown)
      if (grown > 2 * bytes.byteLength + MEMORY_FREE)
        await tell({ type: 'wrong', reason: `it took ${grown} bytes of memory for ${bytes.byteLength}` })
    }
    await tell({ type: 'read', reader, rounds, seconds, bytes: most })
  }
}

process.once('disconnect', () => process.exit(0))
if (process.send) {
  process.once('message', (job: FuzzJob) => {
    void fuzz(job).then(() => process.disconnect())
  })
}
