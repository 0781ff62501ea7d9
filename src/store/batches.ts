import { fail } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import type { Store } from './store.ts'

export type BatchStatus =
  | 'validating'
  | 'in_progress'
  | 'finalizing'
  | 'completed'
  | 'failed'
  | 'cancelling'
  | 'cancelled'

/** Requests of a file that are answered one after the other; times are seconds since 1970. */
export interface Batch {
  id: string
  endpoint: string
  input: string
  status: BatchStatus
  /** When each status was reached. */
  times: Partial<Record<BatchStatus, number>>
  counts: { total: number; completed: number; failed: number }
  errors: { code: string; message: string; line: number | null }[]
  output?: string
  errorFile?: string
  metadata: Record<string, string>
}

const over = new Set<BatchStatus>(['completed', 'failed', 'cancelled'])
/** This run of the server: a batch that another run left unfinished is over. */
const BOOT = newId('boot')

/** Batches of a store, each a row. */
export class Batches {
  readonly #db: Store['db']

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  async create({ endpoint, input, metadata }: Pick<Batch, 'endpoint' | 'input' | 'metadata'>): Promise<Batch> {
    const batch: Batch = {
      id: newId('batch'),
      endpoint,
      input,
      status: 'validating',
      times: { validating: seconds() },
      counts: { total: 0, completed: 0, failed: 0 },
      errors: [],
      metadata,
    }
    await this.#db
      .insertInto('batches')
      .values({ id: batch.id, boot: BOOT, document: JSON.stringify(batch) })
      .execute()
    return batch
  }

  /** Throws BATCH_NOT_FOUND. */
  async get(id: string): Promise<Batch> {
    const row = await this.#db.selectFrom('batches').selectAll().where('id', '=', id).executeTakeFirst()
    if (!row) throw fail('BATCH_NOT_FOUND', { batch: id.slice(0, 80) })
    return asIs(row)
  }

  /** Newest first. */
  async list(): Promise<Batch[]> {
    const rows = await this.#db.selectFrom('batches').selectAll().orderBy('id', 'desc').limit(1000).execute()
    return rows.map(asIs)
  }

  /** Changes a batch that is not over; its time is noted where the status is another. */
  async update(id: string, change: Partial<Batch>): Promise<Batch> {
    for (;;) {
      const batch = await this.get(id)
      if (over.has(batch.status)) return batch
      const { status = batch.status } = change
      const times = status === batch.status ? batch.times : { ...batch.times, [status]: seconds() }
      const changed = { ...batch, ...change, times }
      // only what was read is replaced: a cancellation between the two must not be lost
      const { numUpdatedRows } = await this.#db
        .updateTable('batches')
        .set({ document: JSON.stringify(changed) })
        .where('id', '=', id)
        .where('document', '=', JSON.stringify(batch))
        .executeTakeFirst()
      if (numUpdatedRows > 0n) return changed
    }
  }
}

const seconds = () => Math.floor(Date.now() / 1000)

function asIs({ boot, document }: { boot: string; document: string }): Batch {
  const batch = JSON.parse(document) as Batch
  if (boot === BOOT || over.has(batch.status)) return batch
  const ended = {
    code: 'server_restarted',
    message: 'The server ended while it worked on this batch. Send it again.',
    line: null,
  }
  return { ...batch, status: 'failed', errors: [...batch.errors, ended] }
}
