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

/**
 * What was answered, and what people say of it; bounded. Answers of a moment are kept as one row, since most are never
 * asked for: an answer gets a row of its own with its label.
 */
export class Predictions {
  readonly #db: Store['db']
  readonly #lightly: Store['lightly']
  readonly #most: number
  #sincePrune = 0

  constructor({ db, lightly }: Pick<Store, 'db' | 'lightly'>, most: number) {
    this.#db = db
    this.#lightly = lightly
    this.#most = most
  }

  async add(predictions: readonly StoredPrediction[]) {
    if (predictions.length === 0) return
    const moments = Map.groupBy(predictions, ({ model, version }) => `${model}@${version}`)
    const values = [...moments.values()].map((moment) => {
      const { model, version } = moment[0]
      const ids = new Set(moment.map(({ requestId }) => requestId))
      let [first, last] = [moment[0].requestId, moment[0].requestId]
      for (const id of ids) {
        if (id < first) first = id
        if (id > last) last = id
      }
      const body = JSON.stringify(
        moment.map(({ requestId, row, label, score, at, text }) => ({ requestId, row, label, score, at, text })),
      )
      return { model, version, first, last, requests: ids.size, rows: moment.length, body }
    })
    await this.#lightly((transaction) => transaction.insertInto('answers').values(values).execute())
    this.#sincePrune += predictions.length
    if (this.#sincePrune < this.#most / 10) return
    this.#sincePrune = 0
    await this.#prune()
  }

  async get(requestId: string, row: number): Promise<StoredPrediction | undefined> {
    const found = await this.#db
      .selectFrom('predictions')
      .selectAll()
      .where('request_id', '=', requestId)
      .where('row', '=', row)
      .executeTakeFirst()
    if (found) {
      const { request_id, text, ...rest } = found
      return { requestId: request_id, ...rest, ...(text !== null && { text }) }
    }
    const moments = await this.#db
      .selectFrom('answers')
      .select(['model', 'version', 'body'])
      .where('first', '<=', requestId)
      .where('last', '>=', requestId)
      .execute()
    return moments
      .flatMap(({ body, ...version }) =>
        (JSON.parse(body) as Omit<StoredPrediction, 'model' | 'version'>[]).map((row) => ({ ...version, ...row })),
      )
      .find((one) => one.requestId === requestId && one.row === row)
  }

  /** Attaches the right label to an answer; a later one replaces it. */
  async label({ requestId, row, text, ...rest }: StoredPrediction, label: string) {
    const at = new Date().toISOString()
    await this.#db.transaction().execute(async (transaction) => {
      await transaction
        .insertInto('predictions')
        .values({ request_id: requestId, row, text: text ?? null, ...rest })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      await transaction
        .insertInto('feedback')
        .values({ request_id: requestId, row, label, at })
        .onConflict((conflict) => conflict.columns(['request_id', 'row']).doUpdateSet({ label, at }))
        .execute()
    })
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

  /** Drops the oldest beyond the number of rows that is kept, of all answers and of labelled ones. */
  async #prune() {
    const sums = this.#db.selectFrom('answers').select((e) => [
      'id',
      e.fn
        .sum<number>('rows')
        .over((o) => o.orderBy('id', 'desc'))
        .as('sum'),
    ])
    const full = await this.#db
      .selectFrom(sums.as('sums'))
      .select('id')
      .where('sum', '>', this.#most)
      .orderBy('id', 'desc')
      .limit(1)
      .executeTakeFirst()
    if (full) await this.#db.deleteFrom('answers').where('id', '<=', full.id).execute()
    const oldest = await this.#db
      .selectFrom('predictions')
      .select('at')
      .orderBy('at', 'desc')
      .offset(this.#most)
      .limit(1)
      .executeTakeFirst()
    if (oldest) await this.#db.deleteFrom('predictions').where('at', '<=', oldest.at).execute()
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
