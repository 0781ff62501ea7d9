import type { House } from './route.ts'

/** A tenant's rooms, and how they are closed: first what works on in the background, then the rest. */
export interface OpenHouse {
  readonly house: House
  stop(): Promise<void>
  close(): Promise<void>
}

/**
 * The house of each tenant. A tenant has a store of its own, so that nothing in a room needs to know that there are others,
 * and no lookup can reach another's; it is opened when the tenant is first asked for.
 */
export class Houses {
  readonly #open: (tenant: string) => Promise<OpenHouse>
  readonly #opened = new Map<string, OpenHouse>()
  readonly #opening = new Map<string, Promise<OpenHouse>>()

  constructor(open: (tenant: string) => Promise<OpenHouse>) {
    this.#open = open
  }

  of(tenant: string): House | Promise<House> {
    return this.#opened.get(tenant)?.house ?? this.#wait(tenant).then(({ house }) => house)
  }

  #wait(tenant: string): Promise<OpenHouse> {
    const known = this.#opening.get(tenant)
    if (known) return known
    const opening = this.#open(tenant)
    this.#opening.set(tenant, opening)
    opening.then(
      (opened) => this.#opened.set(tenant, opened),
      () => this.#opening.delete(tenant),
    )
    return opening
  }

  async stop() {
    await Promise.all([...this.#opened.values()].map((opened) => opened.stop()))
  }

  async close() {
    await Promise.all([...this.#opened.values()].map((opened) => opened.close()))
  }
}
