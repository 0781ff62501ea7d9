import { createWriteStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { configure } from '../../base/config.ts'
import { checkBackup, readBackup } from '../../store/backup.ts'
import { dump } from '../../store/dump.ts'
import { load } from '../../store/load.ts'
import { openStore, openTarget } from '../../store/store.ts'
import type { Context, GlobalOptions } from '../context.ts'
import { Terminal } from '../terminal.ts'

/** Writes a backup, reads it back, and only then gives it its name. */
export async function backup({ client, out }: Context, path: string) {
  const partial = `${path}.partial`
  try {
    await pipeline(Readable.fromWeb((await client.backup()) as never), createWriteStream(partial, { mode: 0o600 }))
    const file = await open(partial, 'r')
    await file.sync()
    await file.close()
    const found = await checkBackup(partial)
    await rename(partial, path)
    if (out.json) return out.document({ file: path, ...found })
    out.say(`${path}: ${found.rows} rows and ${found.blobs} files, read back and compared`)
  } catch (error) {
    await rm(partial, { force: true })
    throw error
  }
}

/** Fills the data folder, or the database and object store that are configured, from a backup. */
export async function restore(path: string, options: GlobalOptions) {
  const out = new Terminal(options)
  const { home, database, blobs } = configure()
  await checkBackup(path)
  const target = await openTarget(home, { database, blobs })
  try {
    const found = await load(target, readBackup(path))
    if (out.json) return out.document(found)
    out.say(`${found.rows} rows and ${found.blobs} files are back`)
  } finally {
    await target.close()
  }
}

/** Copies a data folder to a database and, if it is named, an object store; the folder stays as it is. */
export async function migrate({ to, blobs, ...options }: GlobalOptions & { to: string; blobs?: string }) {
  const out = new Terminal(options)
  const { home } = configure()
  const source = await openStore(home)
  try {
    const places = { database: to, ...(blobs !== undefined && { blobs }) }
    const target = await openTarget(home, { ...places, borrowed: true })
    try {
      const found = await load(target, dump(source, { blobs: blobs !== undefined }))
      if (out.json) return out.document(found)
      out.say(`${found.rows} rows and ${found.blobs} files copied. From now on start the server with`)
      out.data(`ATHANOR_DATABASE=${to}${blobs === undefined ? '' : ` ATHANOR_BLOBS=${blobs}`}`)
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}
