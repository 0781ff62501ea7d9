import { fail } from '../base/errors.ts'
import type { Store } from '../store/store.ts'
import { MICRO } from './limits.ts'
import { inTurn } from './turns.ts'

/** What a model costs, in the operator's currency: a request, a thousand tokens read, a thousand tokens written. */
export interface Price {
  request: number
  input: number
  output: number
}

const free: Price = { request: 0, input: 0, output: 0 }

/** Prices by tenant and model, `*` for all others; the closest one counts. Held in memory, in millionths. */
export class Prices {
  readonly #db: Store['db']
  #prices: ReadonlyMap<string, Price> = new Map()
  readonly load = inTurn(() => this.#read())

  constructor({ db }: Pick<Store, 'db'>) {
    this.#db = db
  }

  /** Those before hold until all of the new ones are there: no request is free meanwhile. */
  async #read() {
    const rows = await this.#db.selectFrom('prices').selectAll().execute()
    this.#prices = new Map(
      rows.map(({ tenant, model, request, input, output }) => [
        `${tenant} ${model}`,
        { request: Number(request), input: Number(input), output: Number(output) },
      ]),
    )
  }

  /** In millionths. */
  of(tenant: string, model: string): Price {
    const prices = this.#prices
    if (prices.size === 0) return free
    return (
      prices.get(`${tenant} ${model}`) ??
      prices.get(`${tenant} *`) ??
      prices.get(`* ${model}`) ??
      prices.get('* *') ??
      free
    )
  }

  list(tenant?: string) {
    return [...this.#prices]
      .map(([key, { request, input, output }]) => {
        const [owner, model] = key.split(' ')
        return { tenant: owner, model, request: request / MICRO, input: input / MICRO, output: output / MICRO }
      })
      .filter((price) => tenant === undefined || price.tenant === tenant || price.tenant === '*')
  }

  /** Throws OPTION_INVALID. */
  async set(tenant: string, model: string, given: Partial<Price>) {
    const price = { ...free }
    for (const part of ['request', 'input', 'output'] as const) {
      const value = given[part] ?? 0
      if (!(value >= 0 && value <= 1e6))
        throw fail('OPTION_INVALID', { option: part, reason: `expected 0 to 1000000, got ${value}` })
      price[part] = Math.round(value * MICRO)
    }
    await this.#db
      .insertInto('prices')
      .values({ tenant, model, ...price })
      .onConflict((c) => c.columns(['tenant', 'model']).doUpdateSet(price))
      .execute()
    await this.load()
  }

  async remove(tenant: string, model: string) {
    await this.#db.deleteFrom('prices').where('tenant', '=', tenant).where('model', '=', model).execute()
    await this.load()
  }
}

/** What tokens and a request cost, in whole millionths, rounded up. */
export const costOf = ({ request, input, output }: Price, inputTokens: number, outputTokens: number): number =>
  request + Math.ceil((input * inputTokens + output * outputTokens) / 1000)
