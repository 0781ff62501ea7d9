import { type ChildProcess, fork } from 'node:child_process'
import { copyFile, link, rm } from 'node:fs/promises'
import { setPriority } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type AthanorError, type ErrorCode, fail } from '../base/errors.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Store } from '../store/store.ts'
import type { DataSource } from './job.ts'
import type { FromTrainer } from './process.ts'

/** A process that waits for a job of training, at low priority: serving comes first. */
export function startTrainer(worker: URL): ChildProcess {
  const child = fork(fileURLToPath(worker), {
    serialization: 'advanced',
    execArgv: ['--disable-warning=ExperimentalWarning'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  try {
    if (child.pid !== undefined) setPriority(child.pid, 10)
  } catch {
    // not allowed everywhere; training runs all the same
  }
  return child
}

/** What a process failed by, as it was thrown there. */
export const failureOf = ({ error, suggestion, detail }: Extract<FromTrainer, { type: 'failed' }>): AthanorError =>
  fail(error.code as ErrorCode, error.details, { ...(suggestion && { suggestion }), cause: detail })

/** An uploaded file in a folder, under its own name after `prefix`, so that its format can be told. */
export async function sourceIn(
  folder: string,
  dataset: string,
  { store, datasets }: { store: Store; datasets: Datasets },
  prefix = '',
): Promise<DataSource> {
  if (dataset.startsWith('npm:')) return { path: dataset, name: dataset }
  const { digest, filename } = await datasets.get(dataset)
  const name = basename(filename)
  const path = join(folder, `${prefix}${name}`)
  const blob = await store.blobs.verify(digest)
  await rm(path, { force: true })
  await link(blob, path).catch(() => copyFile(blob, path)) // a link where the file system has them
  return { path, name }
}
