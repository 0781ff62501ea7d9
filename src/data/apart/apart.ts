import { type ChildProcess, fork } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail } from '../../base/errors.ts'
import { type PassedError, received } from '../../base/passing.ts'
import type { Allowance } from '../../base/watchdog/watchdog.ts'
import type { ReadOptions, Row } from '../dataset.ts'
import type { LabelledImage } from '../images/source.ts'
import type { TableFile, TableRow } from '../tables.ts'

/** What a reader reads, and what each piece of it may take. */
export type ReadJob = { allowance: Allowance } & (
  | { kind: 'parquet'; file: TableFile }
  | { kind: 'rows'; path: string; options: ReadOptions }
  | { kind: 'images'; path: string; name: string }
)
type NewJob = ReadJob extends infer Job ? (Job extends unknown ? Omit<Job, 'allowance'> : never) : never
export type ToReader = { type: 'open'; job: ReadJob } | { type: 'next' }
export type FromReader = { type: 'piece'; items: unknown[] } | { type: 'end' } | { type: 'failed'; error: PassedError }

/** Milliseconds that a piece may take, whatever it waits for; a reader that is asked nothing ends after `IDLE`. */
const PATIENCE = 300_000
const IDLE = 5_000

/** Rows of a Parquet file. Its library can be kept busy for ever, and fill any memory, by a changed run length. */
export async function* readParquet(file: TableFile): AsyncGenerator<TableRow> {
  const { size } = await stat(file.path)
  // decoding makes about 8 MB/s of what is packed 4 times; a thousand equal rows are but a few bytes
  const allowance = { time: 1_000_000 + size / 2, memory: (128 << 20) + 16 * size }
  for await (const rows of read<TableRow>({ kind: 'parquet', file }, file.source, allowance)) yield* rows
}

/** As much as `openDataset` and `openImages` take for the largest lines, archives and packed images that they read. */
const roomy: Allowance = { time: 60_000_000, memory: 2 ** 31 }

/** As `openDataset` and its rows, some hundred at a time, in a process of their own that is ended when it takes too much. */
export const rowsApart = (path: string, options: ReadOptions): AsyncGenerator<Row[]> =>
  read({ kind: 'rows', path, options }, options.name ?? basename(path), roomy)

/** As `openImages` and its images, some megabytes at a time, in a process as that of `rowsApart`. */
export const imagesApart = (path: string, name: string): AsyncGenerator<LabelledImage[]> =>
  read({ kind: 'images', path, name }, name, roomy)

/** The reader that has nothing to do, and when it will be ended. */
let idle: { reader: ChildProcess; end: NodeJS.Timeout } | undefined

async function* read<Item>(job: NewJob, source: string, allowance: Allowance): AsyncGenerator<Item[]> {
  const reader = take()
  try {
    let message: ToReader = { type: 'open', job: { ...job, allowance } }
    for (;;) {
      const answer = await ask(reader, message, source)
      if (answer.type === 'failed') throw received(answer.error)
      if (answer.type === 'end') return
      yield answer.items as Item[]
      message = { type: 'next' }
    }
  } finally {
    give(reader)
  }
}

function take(): ChildProcess {
  if (!idle?.reader.connected) return started()
  const { reader, end } = idle
  idle = undefined
  clearTimeout(end)
  return reader
}

function started(): ChildProcess {
  const file = import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js'
  // what is secret has no place beside a file from outside
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(ATHANOR|AWS)_/.test(name)))
  const reader = fork(fileURLToPath(new URL(file, import.meta.url)), {
    serialization: 'advanced',
    execArgv: ['--disable-warning=ExperimentalWarning', '--max-old-space-size=8192'],
    env,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  return reader.on('error', () => undefined) // told by its end
}

/** Keeps one reader for a while; it does not keep this process from ending. */
function give(reader: ChildProcess) {
  if (idle || !reader.connected) {
    reader.kill('SIGKILL')
    return
  }
  reader.unref()
  reader.channel?.unref()
  idle = { reader, end: setTimeout(() => reader.kill('SIGKILL'), IDLE).unref() }
}

/** Throws DATA_MALFORMED when the reader was ended by its limits. */
async function ask(reader: ChildProcess, message: ToReader, source: string): Promise<FromReader> {
  const { promise, resolve, reject } = Promise.withResolvers<FromReader>()
  const ended = (code: number | null, signal: string | null) => {
    const reason = 'reading it takes too much time or memory'
    reject(fail('DATA_MALFORMED', { source, reason }, { cause: new Error(`reader ended: ${signal ?? code}`) }))
  }
  reader.ref()
  reader.channel?.ref()
  const patience = setTimeout(() => reader.kill('SIGKILL'), PATIENCE)
  reader.once('message', resolve).once('exit', ended)
  try {
    reader.send(message, (error) => error && !reader.killed && ended(null, error.message))
    return await promise
  } finally {
    clearTimeout(patience)
    reader.off('message', resolve).off('exit', ended)
  }
}
