import { fail } from '../../base/errors.ts'
import type { Value } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { isObject } from './config.ts'

type Activation = (x: Value, version: number) => Value
const node = (x: Value, op: string, attributes: Record<string, number | { float: number }> = {}) =>
  o.graphFor([x]).node(op, [x], attributes)[0]

/** Keras' activations by name. From version 3 on, `hard_sigmoid` is relu6(x + 3) / 6 instead of clip(x / 5 + 1/2). */
export const activations: Record<string, Activation> = {
  linear: (x) => x,
  relu: (x) => o.relu(x),
  relu6: (x) => o.clip(x, 0, 6),
  leaky_relu: (x) => node(x, 'LeakyRelu', { alpha: 0.2 }),
  sigmoid: (x) => o.sigmoid(x),
  hard_sigmoid: (x, version) => node(x, 'HardSigmoid', { alpha: { float: version >= 3 ? 1 / 6 : 0.2 }, beta: 0.5 }),
  tanh: (x) => o.tanh(x),
  softmax: (x) => o.softmax(x),
  log_softmax: (x) => o.logSoftmax(x),
  elu: (x) => node(x, 'Elu', { alpha: { float: 1 } }),
  selu: (x) => node(x, 'Selu'),
  softplus: (x) => node(x, 'Softplus'),
  softsign: (x) => node(x, 'Softsign'),
  exponential: (x) => o.exp(x),
  gelu: (x) => o.gelu(x),
  silu: (x) => o.mul(x, o.sigmoid(x)),
  swish: (x) => o.mul(x, o.sigmoid(x)),
  hard_silu: (x) => node(x, 'HardSwish'),
  hard_swish: (x) => node(x, 'HardSwish'),
  mish: (x) => node(x, 'Mish'),
}

/** The name of an activation in a layer's configuration; throws UNSUPPORTED for one that is not in the table. */
export function activationName(value: unknown, where: string): string {
  const nested = isObject(value)
    ? isObject(value.config)
      ? (value.config.name ?? value.class_name)
      : value.class_name
    : value
  const name = nested === null || nested === undefined ? 'linear' : String(nested)
  if (!Object.hasOwn(activations, name)) {
    throw fail('UNSUPPORTED', {
      what: `the activation ${name.slice(0, 80)} of the Keras layer ${where}`,
      instead: `Known activations: ${Object.keys(activations).join(', ')}.`,
    })
  }
  return name
}
