import { fork } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail } from '../base/errors.ts'
import { type PassedError, received } from '../base/passing.ts'
import type { Allowance } from '../base/watchdog/watchdog.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { WriteOptions } from './formats.ts'
import type { ImportOptions } from './options.ts'

/** Work for a converter: paths of stored files by the names that they go under, and what it may take. */
export type Conversion = { folder: string; files: Readonly<Record<string, string>>; allowance: Allowance } & (
  | { kind: 'import'; options: ImportOptions }
  | { kind: 'export'; manifest: Manifest; format: string; options: WriteOptions }
)
export type NewConversion =
  | Omit<Extract<Conversion, { kind: 'import' }>, 'folder' | 'allowance'>
  | Omit<Extract<Conversion, { kind: 'export' }>, 'folder' | 'allowance'>

export type FromConverter =
  | { type: 'done'; manifest?: Manifest; files: Record<string, string> }
  | { type: 'failed'; error: PassedError }

/** Milliseconds and MiB of JavaScript memory that a conversion may take. */
const TIME_LIMIT = 300_000
const HEAP_LIMIT = 4096

/**
 * All memory that a conversion of so many bytes may take, tensors and libraries included: a file in 4 bits is eight times as
 * large in floats, which are there twice while they are written.
 */
const allowanceFor = (bytes: number): Allowance => ({
  time: TIME_LIMIT * 1000 * availableParallelism(),
  memory: 2 ** 30 + 20 * bytes,
})

/**
 * Reads or writes files of another format in a process of its own and passes its result to `use`; what it wrote is
 * removed after. Throws what the conversion threw, or FORMAT_INVALID when it died or took too long.
 */
export async function convert<T>(
  job: NewConversion,
  use: (result: { manifest?: Manifest; files: Record<string, string> }) => Promise<T>,
  allowed: (bytes: number) => Allowance = allowanceFor,
): Promise<T> {
  const sizes = await Promise.all(Object.values(job.files).map(async (path) => (await stat(path)).size))
  const allowance = allowed(sizes.reduce((a, b) => a + b, 0))
  const folder = await mkdtemp(join(tmpdir(), 'athanor-convert-'))
  try {
    const answer = await run({ ...job, allowance, folder: join(folder, 'out') } as Conversion, folder)
    if (answer.type === 'done') return await use(answer)
    throw received(answer.error)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function run(job: Conversion, cwd: string): Promise<FromConverter> {
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    serialization: 'advanced',
    cwd,
    execArgv: ['--disable-warning=ExperimentalWarning', `--max-old-space-size=${HEAP_LIMIT}`],
    env: { PATH: process.env.PATH, LANG: process.env.LANG, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  const limit = setTimeout(() => child.kill('SIGKILL'), TIME_LIMIT)
  try {
    return await new Promise<FromConverter>((resolve, reject) => {
      child.once('message', (message) => resolve(message as FromConverter))
      child.once('error', reject)
      child.once('exit', (code, signal) =>
        reject(
          fail(
            'FORMAT_INVALID',
            {
              format: job.kind === 'import' ? (job.options.format ?? 'known') : job.format,
              reason: 'reading it took too much time or memory',
            },
            { cause: new Error(`converter ended with ${signal ?? code}`) },
          ),
        ),
      )
      child.send(job)
    })
  } finally {
    clearTimeout(limit)
    child.kill('SIGKILL')
  }
}
