import type { TextCodec } from '../data/codec.ts'
import type { Grammar } from '../data/grammar/grammar.ts'
import { Machine, type State } from '../data/grammar/machine.ts'
import { Vocabulary } from '../data/grammar/vocabulary.ts'

/** Grammars that are kept with what was found of them: many requests ask for the same form. */
const KEPT = 16

/** Makes forms of grammars for one model. */
export class Forms {
  readonly #codec: TextCodec
  readonly #never: ReadonlySet<number>
  readonly #end: readonly number[]
  readonly #machines = new Map<string, Machine>()
  #vocabulary: Vocabulary | undefined

  constructor(codec: TextCodec, { never = [], end }: { never?: readonly number[]; end: readonly number[] }) {
    this.#codec = codec
    this.#never = new Set([...never, ...end])
    this.#end = end
  }

  open(grammar: Grammar): Form {
    const key = JSON.stringify([...grammar])
    const machine = this.#machines.get(key) ?? new Machine(grammar)
    this.#machines.delete(key)
    this.#machines.set(key, machine)
    if (this.#machines.size > KEPT) this.#machines.delete(this.#machines.keys().next().value!)
    this.#vocabulary ??= new Vocabulary(this.#codec.size, (token) =>
      this.#never.has(token) ? new Uint8Array() : this.#codec.bytes(token),
    )
    return new Form(machine, this.#vocabulary, this.#codec, this.#end)
  }
}

/** Where a text stands in its grammar. */
export class Form {
  readonly #machine: Machine
  readonly #vocabulary: Vocabulary
  readonly #codec: TextCodec
  readonly #end: readonly number[]
  #state: State

  constructor(machine: Machine, vocabulary: Vocabulary, codec: TextCodec, end: readonly number[]) {
    this.#machine = machine
    this.#vocabulary = vocabulary
    this.#codec = codec
    this.#end = end
    this.#state = machine.start
  }

  /** The tokens that may come next, each marked with 1, ends among them; undefined when only the end can. */
  get allowed(): Uint8Array | undefined {
    const { mask, any } = this.#vocabulary.allowed(this.#machine, this.#state)
    if (!any) return undefined
    if (!this.#state.done) return mask
    const more = Uint8Array.from(mask)
    for (const token of this.#end) more[token] = 1
    return more
  }

  /** Goes on with a token that was allowed. */
  take(token: number) {
    for (const byte of this.#codec.bytes(token)) this.#state = this.#machine.step(this.#state, byte)!
  }
}
