import { intOf } from '../../graph/attributes.ts'
import { Edit } from '../../graph/edit.ts'
import type { ModelProto, NodeProto } from '../../graph/gen/onnx_pb.js'
import { float32 } from '../../graph/tensor.ts'
import type { Weights } from '../../train/checkpoint.ts'
import { cutUnits, keepBest } from './cut.ts'
import type { UnitSet } from './units.ts'

/** Operators through which a channel stays what it is. */
const channelwise = new Set(
  'BatchNormalization Relu LeakyRelu PRelu Clip HardSwish HardSigmoid Sigmoid Elu Identity MaxPool AveragePool'.split(
    ' ',
  ),
)
/** Channels are left in multiples of this: what vectors of the CPU take. */
const MULTIPLE = 8

/**
 * Sets of filters that can be taken out of a graph of convolutions: those of which one other convolution alone reads, with
 * nothing between them that mixes channels. What is added to something else, as at the end of a residual block, stays.
 */
export function channelSets(model: ModelProto): UnitSet[] {
  const edit = new Edit(model)
  const uses = edit.uses()
  const once = (name: string) => edit.isStored(name) && uses.get(name)?.length === 1
  const plain = (node: NodeProto) => node.opType === 'Conv' && node.domain === '' && intOf(node, 'group', 1) === 1
  const own = (i: number) => i
  return edit.nodes.flatMap((node) => {
    if (!plain(node) || !node.input.slice(1).every((name) => name === '' || once(name))) return []
    const [, weight, bias] = node.input
    const axes = [weight, ...(bias ? [bias] : [])].map((parameter) => ({
      parameter,
      axis: 0,
      unitOf: own,
      makes: true,
    }))
    for (let value = node.output[0]; ; ) {
      const [next, another] = uses.get(value) ?? []
      if (!next || another || next.input[0] !== value) return []
      if (plain(next) && once(next.input[1])) {
        const units = edit.dims(weight)![0]
        const user = { parameter: next.input[1], axis: 1, unitOf: own, makes: false }
        return [{ name: weight, units, axes: [...axes, user] }]
      }
      if (!channelwise.has(next.opType)) return []
      for (const name of next.input.slice(1)) {
        if (name === '' || edit.dims(name)?.length === 0) continue
        if (!once(name) || edit.dims(name)?.length !== 1) return []
        axes.push({ parameter: name, axis: 0, unitOf: own, makes: false })
      }
      value = next.output[0]
    }
  })
}

/** The graph without the filters of least importance, each set cut by the same share; what each had and has. */
export function cutChannels(
  model: ModelProto,
  sets: readonly UnitSet[],
  importance: readonly Float64Array[],
  share: number,
): { model: ModelProto; before: number; after: number } {
  const edit = new Edit(model)
  const weights: Weights = {}
  for (const { axes } of sets) {
    for (const { parameter } of axes) {
      const { dims, data } = edit.tensor(parameter)!
      weights[parameter] = { dims, data: data as Float32Array }
    }
  }
  const kept = sets.map(({ units }, s) => {
    const count = Math.max(MULTIPLE, Math.round((units * (1 - share)) / MULTIPLE) * MULTIPLE)
    return keepBest(importance[s], Math.min(units, count))
  })
  for (const [name, { dims, data }] of Object.entries(cutUnits(weights, sets, kept)))
    edit.restore(name, float32([...dims], data))
  edit.graph.valueInfo = []
  const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0)
  return { model: edit.finish(), before: sum(sets.map(({ units }) => units)), after: sum(kept.map(({ size }) => size)) }
}
