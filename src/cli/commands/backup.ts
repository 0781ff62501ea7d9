import { createWriteStream } from 'node:fs'
import { access, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { configure } from '../../base/config.ts'
import { AthanorError } from '../../base/errors.ts'
import { checkBackup, readBackup } from '../../store/backup.ts'
import { dump } from '../../store/dump.ts'
import { load } from '../../store/load.ts'
import { openStore, openTarget, type Places, placesOf, type Store } from '../../store/store.ts'
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
  await access(path)
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

/**
 * Copies a data folder to a database and, if it is named, an object store; the folder stays as it is. Tenants are copied one
 * by one, the default last; those that an interrupted migration brought over are left as they are.
 */
export async function migrate({ to, blobs = '', ...options }: GlobalOptions & { to: string; blobs?: string }) {
  const out = new Terminal(options)
  const { home } = configure()
  const source = await openStore(home) // held, so that no server starts meanwhile
  try {
    const total = { rows: 0, blobs: 0 }
    const add = ({ rows, blobs: files }: typeof total) => {
      total.rows += rows
      total.blobs += files
    }
    for (const tenant of await readdir(join(home, 'tenants')).catch(() => [])) {
      const folder = join(home, 'tenants', tenant)
      const store = await openStore(folder)
      try {
        add(await copy(store, placesOf({ database: to, blobs }, tenant)))
      } catch (error) {
        if (!(error instanceof AthanorError) || error.code !== 'NOT_EMPTY') throw error
        out.say(`tenant ${tenant} is there already`)
      } finally {
        await store.close()
      }
    }
    add(await copy(source, { database: to, blobs }))
    if (out.json) return out.document(total)
    out.say(`${total.rows} rows and ${total.blobs} files copied. From now on start the server with`)
    out.data(`ATHANOR_DATABASE=${to}${blobs === '' ? '' : ` ATHANOR_BLOBS=${blobs}`}`)
  } finally {
    await source.close()
  }
}

async function copy(source: Store, places: Places) {
  const target = await openTarget(source.home, { ...places, borrowed: true })
  try {
    return await load(target, dump(source, { blobs: Boolean(places.blobs) }))
  } finally {
    await target.close()
  }
}
