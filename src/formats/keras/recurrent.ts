import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { float32, type Tensor } from '../../graph/tensor.ts'
import { activations } from './activations.ts'
import type { Masked, Place } from './place.ts'

/** A recurrent cell in Keras' layout: gates side by side in the last axis of its weights. */
interface Cell {
  readonly gates: number
  readonly states: number
  /** Step t: states (batch, units), a = x·kernel + bias (batch, gates · units), the recurrent product → new states. */
  step(place: Place, states: readonly Value[], a: Value, weights: CellWeights): Value[]
}
interface CellWeights {
  readonly units: number
  readonly recurrent: Value
  readonly recurrentBias: Value | undefined
}

const activated = (place: Place, x: Value) => place.activation(x, 'activation', 'tanh')
const gated = (place: Place, x: Value) =>
  activations[place.activationName('recurrent_activation', place.version >= 2 ? 'sigmoid' : 'hard_sigmoid')](
    x,
    place.version,
  )

const cells: Record<string, Cell> = {
  SimpleRNN: {
    gates: 1,
    states: 1,
    step: (place, [h], a, { recurrent }) => [activated(place, o.add(a, o.matMul(h, recurrent)))],
  },
  LSTM: {
    gates: 4, // i, f, c, o
    states: 2,
    step(place, [h, c], a, { units, recurrent }) {
      const [i, f, g, out] = o.split(o.add(a, o.matMul(h, recurrent)), Array(4).fill(units), 1)
      const cell = o.add(o.mul(gated(place, f), c), o.mul(gated(place, i), activated(place, g)))
      return [o.mul(gated(place, out), activated(place, cell)), cell]
    },
  },
  GRU: {
    gates: 3, // z, r, h
    states: 1,
    step(place, [h], a, { units, recurrent, recurrentBias }) {
      const [az, ar, ah] = o.split(a, Array(3).fill(units), 1)
      let candidate: Value
      let [z, r]: Value[] = []
      if (place.flag('reset_after', place.version >= 2)) {
        const inner = place.biased(o.matMul(h, recurrent), recurrentBias)
        const [uz, ur, uh] = o.split(inner, Array(3).fill(units), 1)
        ;[z, r] = [gated(place, o.add(az, uz)), gated(place, o.add(ar, ur))]
        candidate = activated(place, o.add(ah, o.mul(r, uh)))
      } else {
        const [rz, rr, rh] = o.split(recurrent, Array(3).fill(units), 1)
        ;[z, r] = [gated(place, o.add(az, o.matMul(h, rz))), gated(place, o.add(ar, o.matMul(h, rr)))]
        candidate = activated(place, o.add(ah, o.matMul(o.mul(r, h), rh)))
      }
      return [o.add(o.mul(z, h), o.mul(o.sub(1, z), candidate))]
    },
  },
}

const isRecurrent = (className: string) => Object.hasOwn(cells, className)

/** Which part of the stored weights is the cell's, and how a wrapper changes what the layer does. */
interface Role {
  readonly part: string
  readonly reversed?: boolean
  readonly zeroMasked?: boolean
}

/**
 * SimpleRNN, LSTM or GRU over x (batch, time, width). A masked step leaves the states as they are and repeats the output
 * before it (zeros before the first), or gives zeros where `zero_output_for_mask` says so. A Scan does exactly that,
 * wherever the masked steps stand.
 */
export function recurrent(place: Place, { value: x, mask }: Masked, role: Role = { part: 'cell' }): Masked {
  place.only({ stateful: false, time_major: false, return_state: false })
  const cell = cells[place.className]
  const units = place.size('units')
  const [backwards, sequences] = [
    place.flag('go_backwards') !== (role.reversed ?? false),
    place.flag('return_sequences'),
  ]
  const useBias = place.flag('use_bias', true)
  const [kernel, recurrentKernel, bias] = place.weights(role.part, useBias ? 3 : 2)
  const rows = cell.gates * units
  const w = place.stored('kernel', kernel, [place.known(x, -1), rows])
  const r = place.stored('recurrent_kernel', recurrentKernel, [units, rows])
  const { inputBias, recurrentBias } = biases(place, bias, rows)

  const a = place.biased(o.matMul(o.transpose(x, [1, 0, 2]), w), inputBias) // (time, batch, rows)
  const zero = o.constantOfShape(o.concat([o.dimension(x, 0), o.ints(x, [units])], 0), 0) // (batch, units)
  const states = Array.from({ length: cell.states }, () => zero)
  const valid = mask && o.unsqueeze(o.transpose(mask, [1, 0]), [2]) // (time, batch, 1)
  const zeroMasked = role.zeroMasked ?? place.flag('zero_output_for_mask')
  // a masked step repeats the last output, which is the first state: nothing more needs to be carried
  const { states: last, outputs } = o.scan(
    states,
    valid ? [a, valid] : [a],
    (before, [at, isValid]) => {
      const next = cell.step(place, before, at, { units, recurrent: r, recurrentBias })
      const kept = isValid ? next.map((state, i) => o.where(isValid, state, before[i])) : next
      const shown = isValid && zeroMasked ? o.where(isValid, kept[0], 0) : kept[0]
      return { states: kept, outputs: sequences ? [shown] : [] }
    },
    { reverse: backwards },
  )
  if (!sequences) {
    const shown = zeroMasked && valid ? lastShown(last[0], valid, backwards) : last[0]
    return { value: shown }
  }
  // a Scan that runs backwards stacks its outputs in the order of time; Keras keeps the order of the run
  const inTime = o.transpose(outputs[0], [1, 0, 2]) // (batch, time, units)
  const turned = place.flag('go_backwards') && !role.part.startsWith('backward') ? reversed(inTime) : inTime
  return { value: turned, ...(mask && { mask }) }
}

/** With `zero_output_for_mask` the last output is zero where the last step is masked. */
function lastShown(state: Value, valid: Value, backwards: boolean): Value {
  const at = backwards ? o.slice(valid, [0], [1], [0]) : o.slice(valid, [-1], [2 ** 31], [0])
  return o.where(o.squeeze(at, [0]), state, 0)
}

const reversed = (x: Value) => o.slice(x, [-1], [-(2 ** 31)], [1], [-1])

/** Keras keeps one bias, or for GRU with `reset_after` two rows: the input's and the recurrent one's. */
function biases(place: Place, bias: Tensor | undefined, rows: number) {
  if (!bias) return { inputBias: undefined, recurrentBias: undefined }
  if (bias.dims.length === 1) return { inputBias: place.stored('bias', bias, [rows]), recurrentBias: undefined }
  place.check('bias', bias, [2, rows])
  const data = bias.data as Float32Array
  return {
    inputBias: place.graph.initializer('bias', float32([rows], data.slice(0, rows))),
    recurrentBias: place.graph.initializer('recurrent_bias', float32([rows], data.slice(rows))),
  }
}

const merges: Record<string, (a: Value, b: Value) => Value> = {
  concat: (a, b) => o.concat([a, b], -1),
  sum: o.add,
  mul: o.mul,
  ave: (a, b) => o.mul(o.add(a, b), 0.5),
}

/** A recurrent layer read in both directions; outputs of masked steps are zero where sequences come back. */
export function bidirectional(place: Place, input: Masked): Masked {
  const forward = place.inner('layer')
  const backward = place.config.backward_layer ? place.inner('backward_layer') : forward
  for (const layer of [forward, backward])
    if (!isRecurrent(layer.className)) place.refuse(`the wrapped layer ${layer.className}`)
  const zeroMasked = forward.flag('return_sequences')
  if (forward.flag('go_backwards')) place.refuse('the setting go_backwards=true of the wrapped layer')
  const own = place.config.backward_layer !== undefined && place.config.backward_layer !== null
  const run = (layer: Place, part: string, reversed: boolean) => recurrent(layer, input, { part, reversed, zeroMasked })
  const a = run(forward, 'forward_layer/cell', false)
  // a backward layer of its own already says that it goes backwards
  const b = run(backward, 'backward_layer/cell', !own)
  const mode = place.config.merge_mode ?? 'concat'
  if (typeof mode !== 'string' || !Object.hasOwn(merges, mode))
    return place.refuse(`the setting merge_mode=${JSON.stringify(mode)}`)
  return { value: merges[mode](a.value, b.value), ...(a.mask && { mask: a.mask }) }
}
