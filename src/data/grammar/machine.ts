import type { Grammar } from './grammar.ts'

/** A place in a sequence of a rule, and where it goes on when the sequence is over. */
interface Frame {
  readonly id: number
  readonly sequence: number
  readonly at: number
  readonly after: Frame | undefined
}

/** All that may come next after some bytes; `done` when the text may end here. */
export interface State {
  readonly done: boolean
  readonly frames: readonly Frame[]
  /** States after each byte that was asked for: undefined where it is not allowed. */
  readonly next: Map<number, State | undefined>
}

type Step = { readonly rule: number } | { readonly bytes: readonly (readonly [number, number])[] }

const STATES = 20_000
const FRAMES = 400_000

/** Reads bytes by a grammar; states are made when they are first reached, and kept. */
export class Machine {
  readonly #sequences: (readonly Step[])[] = []
  /** Sequences of each rule. */
  readonly #choices: (readonly number[])[] = []
  #frames = new Map<string, Frame>()
  #states = new Map<string, State>()
  #ids = 0
  readonly start: State

  constructor(grammar: Grammar) {
    const numbers = new Map([...grammar.keys()].map((name, i) => [name, i]))
    for (const choices of grammar.values()) {
      this.#choices.push(
        choices.map((terms) => {
          const steps = terms.flatMap((term): Step[] => {
            if ('rule' in term) return [{ rule: numbers.get(term.rule)! }]
            if ('bytes' in term) return [term]
            return [...Buffer.from(term.text, 'utf8')].map((byte) => ({ bytes: [[byte, byte]] }))
          })
          return this.#sequences.push(steps) - 1
        }),
      )
    }
    const root = this.#choices[numbers.get('root')!]
    this.start = this.#state(root.map((sequence) => this.#frame(sequence, 0, undefined)))
  }

  /** The state after one more byte; undefined when no text of the grammar goes on so. */
  step(state: State, byte: number): State | undefined {
    if (state.next.has(byte)) return state.next.get(byte)
    const moved = state.frames.flatMap((frame) => {
      const step = this.#sequences[frame.sequence][frame.at] as { bytes: readonly (readonly [number, number])[] }
      if (!step.bytes.some(([from, to]) => byte >= from && byte <= to)) return []
      return [this.#frame(frame.sequence, frame.at + 1, frame.after)]
    })
    const next = moved.length === 0 ? undefined : this.#state(moved)
    state.next.set(byte, next)
    return next
  }

  #frame(sequence: number, at: number, after: Frame | undefined): Frame {
    const key = `${sequence},${at},${after?.id ?? ''}`
    const known = this.#frames.get(key)
    if (known) return known
    if (this.#frames.size > FRAMES) this.#frames.clear() // those in use go on; equal ones are only no longer seen as such
    const frame = { id: this.#ids++, sequence, at, after }
    this.#frames.set(key, frame)
    return frame
  }

  /** The state of frames, each followed through rules and ends until a byte comes next. */
  #state(from: readonly Frame[]): State {
    const seen = new Set<Frame>()
    const frames: Frame[] = []
    let done = false
    const visit = (frame: Frame) => {
      if (seen.has(frame)) return
      seen.add(frame)
      const step = this.#sequences[frame.sequence][frame.at]
      if (step === undefined) {
        if (frame.after) visit(frame.after)
        else done = true
      } else if ('rule' in step) {
        // what follows the last step of a sequence follows the sequence: right recursion takes no memory
        const last = frame.at + 1 === this.#sequences[frame.sequence].length
        const after = last ? frame.after : this.#frame(frame.sequence, frame.at + 1, frame.after)
        for (const sequence of this.#choices[step.rule]) visit(this.#frame(sequence, 0, after))
      } else frames.push(frame)
    }
    for (const frame of from) visit(frame)
    const key = `${done}${frames
      .map(({ id }) => id)
      .sort((a, b) => a - b)
      .join()}`
    const known = this.#states.get(key)
    if (known) return known
    if (this.#states.size > STATES) this.#states.clear()
    const state = { done, frames, next: new Map() }
    this.#states.set(key, state)
    return state
  }
}
