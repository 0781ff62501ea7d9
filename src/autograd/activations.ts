import { fail } from '../base/errors.ts'
import { floatOf } from '../graph/attributes.ts'
import type { Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import { numbers } from '../graph/tensor.ts'
import { type Rule, rule, unbroadcast } from './rule.ts'

const when = (condition: Value, dy: Value) => o.cast(condition, dy.dtype)

/** `slope` of a unary operator whose only inputs are x, its output y and its attributes. */
const slope = (derive: (x: Value, y: Value, attribute: (name: string, absent: number) => number) => Value): Rule =>
  rule(({ x: [x], y, dy, node }) => [
    o.mul(
      dy,
      derive(x, y, (name, absent) => floatOf(node.proto, name, absent)),
    ),
  ])

/** 1 where x is positive, `below` (a number or a value) elsewhere. */
const sided = (x: Value, below: o.Operand) => o.where(o.greater(x, 0), o.scalarLike(x, 1), below)

// the constants of Selu (Klambauer et al. 2017) as ONNX rounds them
const [SELU_ALPHA, SELU_GAMMA] = [1.6732631921768188, 1.0507010221481323]

export const activationRules: Record<string, Rule> = {
  LeakyRelu: slope((x, _y, attribute) => sided(x, attribute('alpha', 0.01))),
  ThresholdedRelu: slope((x, _y, attribute) => when(o.greater(x, attribute('alpha', 1)), x)),
  PRelu: rule(({ x: [x, alpha], dy }) => {
    const below = o.where(o.greater(x, 0), o.scalarLike(x, 0), dy)
    return [o.mul(dy, sided(x, alpha)), unbroadcast(o.mul(below, x), alpha)]
  }),
  // below zero y = alpha (e^x - 1), so its slope is y + alpha
  Elu: slope((x, y, attribute) => sided(x, o.add(y, attribute('alpha', 1)))),
  Celu: slope((x, y, attribute) => sided(x, o.add(o.div(y, attribute('alpha', 1)), 1))),
  Selu: slope((x, y, attribute) => {
    const [alpha, gamma] = [attribute('alpha', SELU_ALPHA), attribute('gamma', SELU_GAMMA)]
    return o.where(o.greater(x, 0), o.scalarLike(x, gamma), o.add(y, alpha * gamma))
  }),
  HardSigmoid: slope((_x, y, attribute) =>
    o.mul(when(o.and(o.greater(y, 0), o.less(y, 1)), y), attribute('alpha', 0.2)),
  ),
  // x · max(0, min(1, x / 6 + 1/2))
  HardSwish: slope((x) => {
    const inside = o.add(o.mul(x, 1 / 3), 0.5)
    return o.where(
      o.greaterOrEqual(x, 3),
      o.scalarLike(x, 1),
      o.where(o.lessOrEqual(x, -3), o.scalarLike(x, 0), inside),
    )
  }),
  Softplus: slope((x) => o.sigmoid(x)),
  Softsign: slope((x) => {
    const size = o.add(o.abs(x), 1)
    return o.reciprocal(o.mul(size, size))
  }),
  // x · tanh(softplus(x))
  Mish: slope((x) => {
    const t = o.tanh(x.graph.node('Softplus', [x])[0])
    return o.add(t, o.mul(o.mul(x, o.sigmoid(x)), o.sub(1, o.mul(t, t))))
  }),
  Sin: slope((x) => o.cos(x)),
  Cos: slope((x) => o.neg(o.sin(x))),
  // training graphs draw their own masks: a Dropout node of a model is at rest
  Dropout: rule(({ x: [, , training], dy, node }) => {
    const resting = !training || (training.tensor && numbers(training.tensor).every((flag) => flag === 0))
    if (resting) return [dy]
    const what = `the gradient of Dropout "${node.proto.name}" in training mode`
    throw fail('UNSUPPORTED', { what, instead: 'Export the model for inference.' })
  }),
}
