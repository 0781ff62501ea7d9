import { createReadStream } from 'node:fs'
import { fail } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import type { Store } from './store.ts'

/** An uploaded data file. */
export interface DatasetRecord {
  id: string
  filename: string
  digest: string
  bytes: number
  createdAt: string
  /** What it was uploaded for. */
  purpose: string
}

/** Uploaded data sets: a row each, the content as a blob. */
export class Datasets {
  readonly #store: Pick<Store, 'db' | 'blobs'>

  constructor(store: Pick<Store, 'db' | 'blobs'>) {
    this.#store = store
  }

  /** Stores a file under a name that keeps its extension; throws BODY_TOO_LARGE. */
  async add(
    filename: string,
    content: AsyncIterable<Uint8Array>,
    limit: number,
    purpose = 'train',
  ): Promise<DatasetRecord> {
    const { digest, bytes } = await this.#store.blobs.put(content, limit)
    const record = { id: newId('ds'), filename, digest, bytes, createdAt: new Date().toISOString(), purpose }
    const { createdAt, ...row } = record
    await this.#store.db
      .insertInto('datasets')
      .values({ ...row, created_at: createdAt })
      .execute()
    this.#store.blobs.settle([digest])
    return record
  }

  /** Throws DATA_NOT_FOUND. */
  async get(id: string): Promise<DatasetRecord> {
    const row = await this.#store.db.selectFrom('datasets').selectAll().where('id', '=', id).executeTakeFirst()
    if (!row) throw fail('DATA_NOT_FOUND', { source: id.slice(0, 80) })
    const { created_at, ...rest } = row
    return { ...rest, createdAt: created_at }
  }

  async list(): Promise<DatasetRecord[]> {
    const rows = await this.#store.db
      .selectFrom('datasets')
      .selectAll()
      .orderBy('created_at', 'desc')
      .limit(500)
      .execute()
    return rows.map(({ created_at, ...rest }) => ({ ...rest, createdAt: created_at }))
  }

  /** Says what a file is for, where that is known only after its content. */
  async setPurpose(id: string, purpose: string): Promise<DatasetRecord> {
    await this.#store.db.updateTable('datasets').set({ purpose }).where('id', '=', id).execute()
    return this.get(id)
  }

  /** The content of a file. */
  async open(id: string): Promise<NodeJS.ReadableStream> {
    return createReadStream(await this.#store.blobs.verify((await this.get(id)).digest))
  }

  /** Deletes the row; the blob goes with the next sweep. */
  async delete(id: string) {
    await this.get(id)
    await this.#store.db.deleteFrom('datasets').where('id', '=', id).execute()
  }
}
