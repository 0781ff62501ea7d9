import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'

/** A recurrent cell in ONNX's layout: what one step does, and how gradients pass back through it. */
export interface Cell {
  readonly operator: 'LSTM' | 'GRU' | 'RNN'
  readonly attributes?: Record<string, number>
  /** Blocks of `hidden` rows in W and R. */
  readonly gates: number
  /** Tensors (hidden, batch) carried from step to step; the first is the output. */
  readonly states: number
  /** Whether a gate scales the recurrent product with its bias, which then must be added within the loop. */
  readonly innerBias: boolean
  /** One step → the states after it, and what the gradient wants of this step beside the first of them. */
  step(at: Step): { states: Value[]; kept: Value[] }
  /**
   * For all steps at once, from h after and before each step and what was kept, all (time, …, batch): what the loop
   * backwards takes a slice of at each step.
   */
  factors(after: Value, before: Value, kept: readonly Value[], hidden: number): Value[]
  /**
   * One step backwards: gradients of the states after it → `du` of the recurrent product, what flows to the states
   * before it past R (if anything does), and what `da` wants.
   */
  back(
    flows: readonly Value[],
    factors: readonly Value[],
    hidden: number,
  ): { du: Value; past: (Value | undefined)[]; kept?: Value[] }
  /** The gradient of a for all steps (time, gates · hidden, batch), where it is not that of the recurrent product. */
  da?(du: Value, kept: readonly Value[], factors: readonly Value[], hidden: number): Value
}

interface Step {
  readonly states: readonly Value[]
  /** W·x + biases (gates · hidden, batch); without that of the recurrent product if the cell has an inner bias. */
  readonly a: Value
  /** R·h + what is given (gates · hidden, batch). */
  readonly product: (added: Value) => Value
  /** The recurrent product's bias (gates · hidden, 1), for cells with an inner bias. */
  readonly bias: Value
  readonly hidden: number
}

const slope = (gate: Value) => o.mul(gate, o.sub(1, gate)) // of the sigmoid, by its value
const flat = (value: Value) => o.sub(1, o.mul(value, value)) // of the hyperbolic tangent, by its value

/** Elman's network (1990): h' = tanh(a + u). */
const rnn: Cell = {
  operator: 'RNN',
  gates: 1,
  states: 1,
  innerBias: false,
  step: ({ a, product }) => ({ states: [o.tanh(product(a))], kept: [] }),
  factors: (h) => [flat(h)],
  back: ([dh], [factor]) => ({ du: o.mul(dh, factor), past: [undefined] }),
}

/** Long short-term memory (Hochreiter & Schmidhuber 1997), gates i, o, f, c. */
const lstm: Cell = {
  operator: 'LSTM',
  gates: 4,
  states: 2,
  innerBias: false,
  step({ states: [, c], a, product, hidden }) {
    const [zs, zg] = o.split(product(a), [3 * hidden, hidden], 0)
    const gates = o.sigmoid(zs)
    const candidate = o.tanh(zg)
    const [i, out, f] = o.split(gates, [hidden, hidden, hidden], 0)
    const remembered = o.mul(f, c)
    const learnt = o.mul(i, candidate)
    const next = o.add(remembered, learnt)
    const squashed = o.tanh(next)
    // a state that is kept as well would be copied at each step; f · c says as much as c here
    return { states: [o.mul(out, squashed), next], kept: [gates, candidate, squashed, remembered, learnt] }
  },
  // d gate / d cell (d state for the output gate) by the products that the gates made: i · c · (1 - i) and so on
  factors(h, _before, [gates, candidate, squashed, remembered, learnt], hidden) {
    const [i, out, f] = o.split(gates, [hidden, hidden, hidden], 1)
    const toGates = [
      o.sub(learnt, o.mul(learnt, i)),
      o.sub(h, o.mul(h, out)),
      o.sub(remembered, o.mul(remembered, f)),
      o.sub(i, o.mul(learnt, candidate)),
    ]
    return [...toGates, o.sub(out, o.mul(h, squashed)), f]
  },
  back([dh, dc], [toI, toOut, toF, toCandidate, toCell, forget]) {
    const cell = o.add(dc, o.mul(dh, toCell))
    const du = [o.mul(cell, toI), o.mul(dh, toOut), o.mul(cell, toF), o.mul(cell, toCandidate)]
    return { du: o.concat(du, 0), past: [undefined, o.mul(cell, forget)] }
  },
}

/** Gated recurrent unit (Cho et al. 2014), gates z, r, h; as in PyTorch the reset gate scales R·h + its bias. */
const gru: Cell = {
  operator: 'GRU',
  attributes: { linear_before_reset: 1 },
  gates: 3,
  states: 1,
  innerBias: true,
  step({ states: [h], a, product, bias, hidden }) {
    const [as, ac] = o.split(a, [2 * hidden, hidden], 0)
    const [us, uc] = o.split(product(bias), [2 * hidden, hidden], 0)
    const gates = o.sigmoid(o.add(as, us))
    const [z, r] = o.split(gates, [hidden, hidden], 0)
    const candidate = o.tanh(o.add(ac, o.mul(r, uc)))
    return { states: [o.add(candidate, o.mul(z, o.sub(h, candidate)))], kept: [gates, candidate, uc] }
  },
  factors(_after, h, [gates, candidate, uc], hidden) {
    const [z, r] = o.split(gates, [hidden, hidden], 1)
    const toCandidate = o.mul(o.sub(1, z), flat(candidate))
    const toGates = [
      o.mul(o.sub(h, candidate), slope(z)),
      o.mul(o.mul(toCandidate, uc), slope(r)),
      o.mul(toCandidate, r),
    ]
    return [...toGates, z, toCandidate]
  },
  back: ([dh], [toZ, toR, toU, z]) => ({
    du: o.concat([o.mul(dh, toZ), o.mul(dh, toR), o.mul(dh, toU)], 0),
    past: [o.mul(dh, z)],
    kept: [dh],
  }),
  da: (du, [dh], factors, hidden) => o.concat([o.slice(du, [0], [2 * hidden], [1]), o.mul(dh, factors[4])], 1),
}

export const cells = { rnn, lstm, gru } as const
