import { createHmac, randomBytes } from 'node:crypto'
import { checkAddress, checkedLookup } from '../base/addresses.ts'
import { fail } from '../base/errors.ts'
import { newId } from '../base/ids.ts'
import { Secrets } from '../store/secrets.ts'
import type { Store } from '../store/store.ts'
import type { RegistryEvent } from './changes.ts'

export interface Webhook {
  id: string
  url: string
  /** All if there are none. */
  events: RegistryEvent[]
  createdAt: string
}

interface Delivery {
  id: number
  webhook: string
  event: string
  body: string
  attempts: number
}

export interface WebhookOptions {
  allowedHosts: readonly string[]
  /** Told of a delivery that was given up. */
  onGivenUp?: (url: string, event: string) => void
  /** Milliseconds between two looks at what waits, and before the n-th new try. */
  every?: number
  /** Milliseconds that a receiver may take. */
  timeout?: number
  backoff?: (attempt: number) => number
}

/** How a secret begins as its receiver is told it; stored, it is sealed. */
const PREFIX = 'whsec_'
const purpose = (id: string) => `webhook ${id}`

/** Webhooks, and tries of a delivery until it is given up. */
const MOST = 50
const TRIES = 10
const AT_ONCE = 16
/** Milliseconds that a delivery is left to the process that took it. */
const TAKEN = 60_000

/**
 * Tells addresses of changes of the registry, signed as the Standard Webhooks specification has it
 * (https://www.standardwebhooks.com). What is to be told is in the database, so that it is told after a restart too; a
 * receiver may get it twice, with the same `webhook-id`.
 */
export class Webhooks {
  readonly #store: Store
  readonly #secrets: Secrets
  readonly #options: Required<WebhookOptions>
  #working: Promise<void>
  readonly #timer: NodeJS.Timeout
  #closed = false

  constructor(store: Store, options: WebhookOptions) {
    const backoff = (attempt: number) => Math.min(3_600_000, 5_000 * 2 ** attempt)
    this.#store = store
    this.#secrets = new Secrets(store.home)
    this.#options = { every: 1_000, timeout: 10_000, backoff, onGivenUp: () => {}, ...options }
    this.#working = this.#sealPlain().catch(() => undefined) // the database is away: at the next start
    this.#timer = setInterval(() => void this.deliver(), this.#options.every).unref()
  }

  /** Sets one up; its secret is told only here. Throws ADDRESS_REFUSED or BAD_REQUEST. */
  async add(address: string, events: readonly RegistryEvent[]): Promise<Webhook & { secret: string }> {
    const { href: url } = await checkAddress(address, this.#options.allowedHosts)
    if ((await this.list()).length >= MOST) throw fail('BAD_REQUEST', { message: `there are ${MOST} webhooks already` })
    const secret = `${PREFIX}${randomBytes(24).toString('base64')}`
    const hook = { id: newId('wh'), url, events: [...events], createdAt: new Date().toISOString() }
    const row = {
      id: hook.id,
      url,
      secret: this.#sealed(hook.id, secret),
      events: JSON.stringify(events),
      created_at: hook.createdAt,
    }
    await this.#store.db.insertInto('webhooks').values(row).execute()
    return { ...hook, secret }
  }

  async list(): Promise<(Webhook & { waiting: number })[]> {
    const rows = await this.#store.db
      .selectFrom('webhooks as w')
      .select(['id', 'url', 'events', 'created_at'])
      .select((e) =>
        e
          .selectFrom('webhook_deliveries as d')
          .select((d) => d.fn.countAll<number>().as('count'))
          .whereRef('d.webhook', '=', 'w.id')
          .as('waiting'),
      )
      .orderBy('created_at')
      .execute()
    return rows.map(({ id, url, events, created_at, waiting }) => ({
      id,
      url,
      events: JSON.parse(events) as RegistryEvent[],
      createdAt: created_at,
      waiting: Number(waiting ?? 0),
    }))
  }

  /** Throws WEBHOOK_NOT_FOUND. */
  async remove(id: string) {
    const { numDeletedRows } = await this.#store.db.deleteFrom('webhooks').where('id', '=', id).executeTakeFirst()
    if (numDeletedRows === 0n) throw fail('WEBHOOK_NOT_FOUND', { id: id.slice(0, 80) })
  }

  /** Tells what is due now; one look at a time. */
  deliver(): Promise<void> {
    this.#working = this.#working.then(() => this.#deliver()).catch(() => undefined) // the database is away: later
    return this.#working
  }

  async close() {
    this.#closed = true
    clearInterval(this.#timer)
    await this.#working
  }

  async #deliver() {
    const { db } = this.#store
    if (this.#closed) return
    const due = await db
      .selectFrom('webhook_deliveries')
      .selectAll()
      .where('next_at', '<=', this.#store.now())
      .orderBy('id')
      .limit(AT_ONCE)
      .execute()
    await Promise.all(
      due.map(async (delivery) => {
        const { numUpdatedRows } = await db
          .updateTable('webhook_deliveries')
          .set((e) => ({ next_at: e(this.#store.now(), '+', TAKEN) }))
          .where('id', '=', delivery.id)
          .where('next_at', '=', delivery.next_at)
          .executeTakeFirst()
        if (numUpdatedRows === 1n) await this.#send(delivery)
      }),
    )
  }

  async #send({ id, webhook, event, body, attempts }: Delivery) {
    const { db } = this.#store
    const hook = await db.selectFrom('webhooks').selectAll().where('id', '=', webhook).executeTakeFirst()
    if (!hook) return
    const arrived = await post(
      hook.url,
      () => this.#secrets.unseal(Buffer.from(hook.secret, 'base64'), purpose(webhook)),
      { id: `${webhook}.${id}`, body },
      this.#options,
    )
    const done = arrived || attempts + 1 >= TRIES
    if (!arrived && done) this.#options.onGivenUp(hook.url, event)
    if (done) await db.deleteFrom('webhook_deliveries').where('id', '=', id).execute()
    else
      await db
        .updateTable('webhook_deliveries')
        .set((e) => ({ attempts: attempts + 1, next_at: e(this.#store.now(), '+', this.#options.backoff(attempts)) }))
        .where('id', '=', id)
        .execute()
  }

  #sealed(id: string, secret: string): string {
    return Buffer.from(this.#secrets.seal(secret, purpose(id))).toString('base64')
  }

  /** Seals the secrets that earlier releases stored as they are. */
  async #sealPlain() {
    const { db } = this.#store
    for (const { id, secret } of await db.selectFrom('webhooks').select(['id', 'secret']).execute()) {
      if (!secret.startsWith(PREFIX)) continue
      const sealed = this.#sealed(id, secret)
      await db
        .updateTable('webhooks')
        .set({ secret: sealed })
        .where('id', '=', id)
        .where('secret', '=', secret)
        .execute()
    }
  }
}

/** Whether an address took a message; answers that lead elsewhere are not followed. */
async function post(
  address: string,
  secret: () => string,
  { id, body }: { id: string; body: string },
  { allowedHosts: allowed, timeout }: Required<WebhookOptions>,
): Promise<boolean> {
  try {
    const url = await checkAddress(address, allowed)
    const timestamp = Math.floor(Date.now() / 1000)
    const key = Buffer.from(secret().slice(PREFIX.length), 'base64')
    const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signature}`,
    }
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const { request: send } = await (url.protocol === 'https:' ? import('node:https') : import('node:http'))
    const signal = AbortSignal.timeout(timeout)
    const request = send(url, { method: 'POST', headers, lookup: checkedLookup(allowed), signal, agent: false })
    request.once('response', (response) => {
      response.destroy()
      resolve(response.statusCode ?? 0)
    })
    request.once('error', reject)
    request.end(body)
    const status = await promise
    return status >= 200 && status < 300
  } catch {
    return false
  }
}
