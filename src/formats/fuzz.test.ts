import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type FromFuzz, type FuzzJob, mutation } from '../testing/fuzz.ts'
import type { Files } from './source.ts'

/** How many changed files are read by all readers together, from which seed, by which reader alone: for `npm run test:fuzz`. */
const FILES = Number(process.env.ATHANOR_FUZZ ?? 400)
const SEED = Number(process.env.ATHANOR_FUZZ_SEED ?? 1)
const READER = process.env.ATHANOR_FUZZ_READER
const READERS = READER === undefined ? 30 : 1
/** Seconds of processor time, and of waiting, after which a round that has not ended hangs; and between two looks. */
const BUSY = 4
const WAITING = 120
const LOOK = 0.1

/** Seconds of processor time that a process has taken, where the system says so; clock ticks are hundredths. */
function busy(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return 0
  }
}

/** What came of a run: what each reader took at most, and each violation with reader, seed, round and the file at hand. */
async function fuzzed(job: FuzzJob): Promise<{ readers: string[]; violations: string[] }> {
  const child = fork(fileURLToPath(new URL('../testing/fuzz.ts', import.meta.url)), {
    serialization: 'advanced',
    execArgv: ['--disable-warning=ExperimentalWarning', '--max-old-space-size=512'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  let at: { reader: string; files: Files; round?: number } | undefined
  let began = { busy: 0, at: performance.now() }
  const readers: string[] = []
  const violations: string[] = []
  const violated = (reason: string) => {
    if (at?.round === undefined) return violations.push(`${at?.reader ?? 'starting'}: ${reason}`)
    const { name, bytes } = mutation(at.files, job, at.round)
    const file = join(mkdtempSync(join(tmpdir(), 'athanor-violation-')), basename(name))
    writeFileSync(file, bytes)
    violations.push(`${at.reader}, seed ${job.seed}, round ${at.round}, ${name} as in ${file}: ${reason}`)
  }
  const clock = setInterval(() => {
    const hangs = busy(child.pid!) - began.busy > BUSY || performance.now() - began.at > WAITING * 1000
    if (at?.round === undefined || !hangs) return
    clearInterval(clock)
    violated('it hangs')
    child.kill('SIGKILL')
  }, LOOK * 1000)
  child.on('message', (message: FromFuzz) => {
    began = { busy: busy(child.pid!), at: performance.now() }
    if (message.type === 'reader') at = { reader: message.reader, files: message.files }
    else if (message.type === 'round') at!.round = message.round
    else if (message.type === 'wrong') violated(message.reason)
    else {
      const { reader, rounds, seconds, bytes } = message
      readers.push(
        `${reader}: ${rounds} files, at most ${seconds.toFixed(2)} s and ${(bytes / 2 ** 20).toFixed(0)} MiB`,
      )
    }
  })
  child.send(job)
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.once('exit', (...ended) => resolve(ended)),
  )
  clearInterval(clock)
  if (readers.length < READERS && violations.length === 0) violated(`the process ended with ${signal ?? code}`)
  return { readers, violations }
}

test('no changed file does more than be refused: no crash, no hang, no memory beyond its size', async (t) => {
  const { readers, violations } = await fuzzed({ rounds: Math.ceil(FILES / READERS), seed: SEED, only: READER })
  if (process.env.ATHANOR_FUZZ) for (const line of readers) t.diagnostic(line)
  assert.deepEqual(violations, [])
  assert.ok(readers.length >= READERS, `${readers.length} readers`)
})
