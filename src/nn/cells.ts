import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** A recurrent cell in ONNX's layout: what one step does, and how gradients pass back through it. */
export interface Cell {
  readonly operator: 'LSTM' | 'GRU' | 'RNN'
  readonly attributes?: Record<string, number>
  /** Blocks of `hidden` rows in W and R. */
  readonly gates: number
  /** Tensors (batch, hidden) carried from step to step; the first is the output. */
  readonly states: number
  /** Whether a gate scales the recurrent product with its bias, which then must be added within the loop. */
  readonly innerBias: boolean
  /**
   * One step: the states before it, a = W·x + biases and u = R·h (+ its bias), both (batch, gates · hidden) → the states
   * after it and what the gradient wants of this step beside them.
   */
  step(states: readonly Value[], a: Value, u: Value, hidden: number): { states: Value[]; kept: Value[] }
  /**
   * For all steps at once, from h after and before each step and what was kept, all (time, batch, …): what the loop
   * backwards takes a slice of at each step.
   */
  factors(after: Value, before: Value, kept: readonly Value[], hidden: number): Value[]
  /**
   * One step backwards: gradients of the states after it → `du` of u, what flows to the states before it past R (if
   * anything does), and what `da` wants.
   */
  back(flows: readonly Value[], factors: readonly Value[]): { du: Value; past: (Value | undefined)[]; kept?: Value[] }
  /** The gradient of a for all steps (time, batch, gates · hidden), where it is not that of u. */
  da?(du: Value, kept: readonly Value[], factors: readonly Value[], hidden: number): Value
}

const slope = (gate: Value) => o.mul(gate, o.sub(1, gate)) // of the sigmoid, by its value
const flat = (value: Value) => o.sub(1, o.mul(value, value)) // of the hyperbolic tangent, by its value

/** Elman's network (1990): h' = tanh(a + u). */
const rnn: Cell = {
  operator: 'RNN',
  gates: 1,
  states: 1,
  innerBias: false,
  step: (_states, a, u) => ({ states: [o.tanh(o.add(a, u))], kept: [] }),
  factors: (h) => [flat(h)],
  back: ([dh], [factor]) => ({ du: o.mul(dh, factor), past: [undefined] }),
}

/** Long short-term memory (Hochreiter & Schmidhuber 1997), gates i, o, f, c. */
const lstm: Cell = {
  operator: 'LSTM',
  gates: 4,
  states: 2,
  innerBias: false,
  step([, c], a, u, hidden) {
    const [zs, zg] = o.split(o.add(a, u), [3 * hidden, hidden], 1)
    const gates = o.sigmoid(zs)
    const candidate = o.tanh(zg)
    const [i, out, f] = o.split(gates, [hidden, hidden, hidden], 1)
    const remembered = o.mul(f, c)
    const next = o.add(remembered, o.mul(i, candidate))
    const squashed = o.tanh(next)
    // a state that is kept as well would be copied at each step; f · c says as much as c here
    return { states: [o.mul(out, squashed), next], kept: [gates, candidate, squashed, remembered] }
  },
  factors(_after, _before, [gates, candidate, squashed, remembered], hidden) {
    const [i, out, f] = o.split(gates, [hidden, hidden, hidden], 2)
    const toGates = [
      o.mul(candidate, slope(i)),
      o.mul(squashed, slope(out)),
      o.mul(remembered, o.sub(1, f)),
      o.mul(i, flat(candidate)),
    ] // d gate / d cell, or d state for the output gate
    return [o.concat(toGates, 2), o.mul(out, flat(squashed)), f]
  },
  back([dh, dc], [toGates, toCell, forget]) {
    const cell = o.add(dc, o.mul(dh, toCell))
    return { du: o.mul(o.concat([cell, dh, cell, cell], 1), toGates), past: [undefined, o.mul(cell, forget)] }
  },
}

/** Gated recurrent unit (Cho et al. 2014), gates z, r, h; as in PyTorch the reset gate scales R·h + its bias. */
const gru: Cell = {
  operator: 'GRU',
  attributes: { linear_before_reset: 1 },
  gates: 3,
  states: 1,
  innerBias: true,
  step([h], a, u, hidden) {
    const [as, ac] = o.split(a, [2 * hidden, hidden], 1)
    const [us, uc] = o.split(u, [2 * hidden, hidden], 1)
    const gates = o.sigmoid(o.add(as, us))
    const [z, r] = o.split(gates, [hidden, hidden], 1)
    const candidate = o.tanh(o.add(ac, o.mul(r, uc)))
    return { states: [o.add(candidate, o.mul(z, o.sub(h, candidate)))], kept: [gates, candidate, uc] }
  },
  factors(_after, h, [gates, candidate, uc], hidden) {
    const [z, r] = o.split(gates, [hidden, hidden], 2)
    const toCandidate = o.mul(o.sub(1, z), flat(candidate))
    const toGates = [
      o.mul(o.sub(h, candidate), slope(z)),
      o.mul(o.mul(toCandidate, uc), slope(r)),
      o.mul(toCandidate, r),
    ]
    return [o.concat(toGates, 2), z, toCandidate]
  },
  back: ([dh], [toGates, z]) => ({
    du: o.mul(o.concat([dh, dh, dh], 1), toGates),
    past: [o.mul(dh, z)],
    kept: [dh],
  }),
  da: (du, [dh], [, , toCandidate], hidden) =>
    o.concat([o.slice(du, [0], [2 * hidden], [2]), o.mul(dh, toCandidate)], 2),
}

export const cells = { rnn, lstm, gru } as const
