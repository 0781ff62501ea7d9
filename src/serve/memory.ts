import { fail } from '../base/errors.ts'
import { monotonic } from '../engine/messages.ts'

/** Milliseconds that one waits for others to become idle when memory is full, and how often it looks. */
const PATIENCE = 5_000
const LOOK = 20

/** Something that takes memory until it is ended. */
export interface Holding {
  /** Bytes. */
  readonly footprint: number
  /** When it was last used. */
  readonly usedAt: number
  /** Whether it may be ended for another's sake now. */
  spare(): boolean
  end(): Promise<void>
}

/** The memory that the engines of all houses share. */
export class Memory {
  /** Bytes that all together may take. */
  budget: number
  readonly #holdings = new Set<Holding>()

  constructor(budget: number) {
    this.budget = budget
  }

  get used(): number {
    let sum = 0
    for (const { footprint } of this.#holdings) sum += footprint
    return sum
  }

  add(holding: Holding) {
    this.#holdings.add(holding)
  }

  remove(holding: Holding) {
    this.#holdings.delete(holding)
  }

  /** Ends spare holdings, least recently used first, until all fit; throws MEMORY_FULL when they do not for long. */
  async makeRoom(holding: Holding, name: string): Promise<void> {
    const until = monotonic() + PATIENCE
    while (this.used > this.budget) {
      const [oldest] = this.#spare(holding)
      if (oldest) await oldest.end()
      else if (holding.footprint <= this.budget && monotonic() < until)
        await new Promise((resolve) => setTimeout(resolve, LOOK))
      else {
        const mb = (bytes: number) => Math.round(bytes / 1e6)
        const used = mb(this.used - holding.footprint)
        throw fail('MEMORY_FULL', { name, needed: mb(holding.footprint), used, budget: mb(this.budget) })
      }
    }
  }

  /** Ends what is spare while all together have grown beyond the budget. */
  async settle(): Promise<void> {
    for (const holding of this.#spare()) {
      if (this.used <= this.budget) return
      await holding.end()
    }
  }

  #spare(except?: Holding): Holding[] {
    return [...this.#holdings].filter((one) => one !== except && one.spare()).sort((a, b) => a.usedAt - b.usedAt)
  }
}
