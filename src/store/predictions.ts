import type { Store } from './store.ts'

/** One row of one answered request. */
export interface StoredPrediction {
  requestId: string
  row: number
  model: string
  version: number
  label: string
  score: number
  text?: string
  at: string
}

/** A corrected or confirmed row whose text was kept. */
export interface LabelledText {
  text: string
  label: string
}

/** What was answered, and what people say of it; bounded. */
export class Predictions {
  readonly #db: Store['db']
  readonly #lightly: Store['lightly']
  readonly #kept: number
  #sincePrune = 0

  constructor({ db, lightly }: Pick<Store, 'db' | 'lightly'>, kept: number) {
    this.#db = db
    this.#lightly = lightly
    this.#kept = kept
  }

  async add(predictions: readonly StoredPrediction[]) {
    if (predictions.length === 0) return
    const rows = predictions.map(({ requestId, text, ...rest }) => ({
      request_id: requestId,
      text: text ?? null,
      ...rest,
    }))
    await this.#lightly((transaction) =>
      transaction
        .insertInto('predictions')
        .values(rows)
        .onConflict((conflict) => conflict.doNothing())
        .execute(),
    )
    this.#sincePrune += predictions.length
    if (this.#sincePrune < this.#kept / 10) return
    this.#sincePrune = 0
    const [oldest] = await this.#db
      .selectFrom('predictions')
      .select('at')
      .orderBy('at', 'desc')
      .offset(this.#kept)
      .limit(1)
      .execute()
    if (oldest) await this.#db.deleteFrom('predictions').where('at', '<=', oldest.at).execute()
  }

  async get(requestId: string, row: number): Promise<StoredPrediction | undefined> {
    const found = await this.#db
      .selectFrom('predictions')
      .selectAll()
      .where('request_id', '=', requestId)
      .where('row', '=', row)
      .executeTakeFirst()
    if (!found) return undefined
    const { request_id, text, ...rest } = found
    return { requestId: request_id, ...rest, ...(text !== null && { text }) }
  }

  /** Attaches the right label to a row; a later one replaces it. */
  async label(requestId: string, row: number, label: string) {
    const at = new Date().toISOString()
    await this.#db
      .insertInto('feedback')
      .values({ request_id: requestId, row, label, at })
      .onConflict((conflict) => conflict.columns(['request_id', 'row']).doUpdateSet({ label, at }))
      .execute()
  }

  /** Labelled rows of a version, and how many of them it had right. */
  async accuracy(model: string, version: number): Promise<{ rows: number; right: number }> {
    const { rows, right } = await this.#labelled(model, version)
      .select((e) => [
        e.fn.countAll<number>().as('rows'),
        e.fn
          .sum<number | null>(e.case().whenRef('predictions.label', '=', 'feedback.label').then(1).else(0).end())
          .as('right'),
      ])
      .executeTakeFirstOrThrow()
    return { rows: Number(rows), right: Number(right ?? 0) }
  }

  /** Labelled rows of a model whose text was kept, newest first. */
  async texts(model: string, limit: number): Promise<LabelledText[]> {
    const rows = await this.#labelled(model)
      .select(['predictions.text', 'feedback.label'])
      .where('predictions.text', 'is not', null)
      .orderBy('feedback.at', 'desc')
      .limit(limit)
      .execute()
    return rows.map(({ text, label }) => ({ text: text!, label }))
  }

  #labelled(model: string, version?: number) {
    const joined = this.#db
      .selectFrom('feedback')
      .innerJoin('predictions', (join) =>
        join.onRef('predictions.request_id', '=', 'feedback.request_id').onRef('predictions.row', '=', 'feedback.row'),
      )
      .where('predictions.model', '=', model)
    return version === undefined ? joined : joined.where('predictions.version', '=', version)
  }
}
