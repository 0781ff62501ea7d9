import type { Machine, State } from './machine.ts'

interface Node {
  readonly children: Map<number, Node>
  /** Tokens that end here. */
  readonly tokens: number[]
}

/** For each token 1 if it may come next, else 0; and whether any may. */
export interface Allowed {
  readonly mask: Uint8Array
  readonly any: boolean
}

/** Tokens by their bytes, to find those that a grammar allows next. */
export class Vocabulary {
  readonly #root: Node = { children: new Map(), tokens: [] }
  readonly #size: number
  readonly #allowed = new WeakMap<State, Allowed>()

  /** `bytesOf` gives the bytes of a token; none for those that are never text. */
  constructor(size: number, bytesOf: (token: number) => Uint8Array) {
    this.#size = size
    for (let token = 0; token < size; token++) {
      const bytes = bytesOf(token)
      if (bytes.length === 0) continue
      let node = this.#root
      for (const byte of bytes) {
        const child: Node = node.children.get(byte) ?? { children: new Map(), tokens: [] }
        node.children.set(byte, child)
        node = child
      }
      node.tokens.push(token)
    }
  }

  /** The tokens that a text of the grammar may go on with; found once for each state. */
  allowed(machine: Machine, state: State): Allowed {
    const known = this.#allowed.get(state)
    if (known) return known
    const mask = new Uint8Array(this.#size)
    let any = false
    const open: [Node, State][] = [[this.#root, state]]
    for (let top = open.pop(); top; top = open.pop()) {
      const [node, at] = top
      for (const token of node.tokens) mask[token] = 1
      any ||= node.tokens.length > 0
      for (const [byte, child] of node.children) {
        const next = machine.step(at, byte)
        if (next) open.push([child, next])
      }
    }
    const allowed = { mask, any }
    this.#allowed.set(state, allowed)
    return allowed
  }
}
