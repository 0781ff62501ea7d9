import { buildImported, openImported, pathOf } from '../../autograd/imported.ts'
import { gradientName, trainingGraph } from '../../autograd/training.ts'
import ort from '../../base/onnxruntime.ts'
import { openSession } from '../../engine/session.ts'
import { writeModel } from '../../graph/codec.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { classifierLoss } from '../../nn/losses.ts'
import type { Weights } from '../../train/checkpoint.ts'
import { initialWeights } from '../../train/graph.ts'
import type { Example } from '../examples/example.ts'
import type { Subject } from '../subject.ts'
import { labelled } from './classifier.ts'
import type { Prunable, Sized } from './network.ts'
import type { UnitSet } from './units.ts'

/** What gradients are computed from: a graph that gives them, its weights by the names of its parameters, and batches. */
interface Lost {
  readonly model: ModelProto
  readonly weights: Weights
  readonly batches: readonly Record<string, ort.Tensor>[]
}

/**
 * How much each unit matters: the mean over batches of (Σ gradient · weight)² of the numbers that make it, the first-order
 * estimate of what taking it out costs (Molchanov et al. 2019). Gradients come from the training graph without dropout.
 */
export async function importance(
  prunable: Prunable,
  { sizes, weights }: Sized,
  sets: readonly UnitSet[],
  rows: readonly Example[],
  threads: number,
): Promise<Float64Array[]> {
  const { model } = trainingGraph((network) => prunable.loss(network, sizes))
  return scores({ model, weights, batches: await prunable.batches(rows, 'units', threads) }, sets, threads)
}

/** The same for a graph of images, whose parameters carry the names of its stored tensors. */
export async function channelImportance(
  subject: Subject,
  sets: readonly UnitSet[],
  rows: readonly Example[],
  threads: number,
): Promise<Float64Array[]> {
  const imported = openImported(subject.model, { trainable: /./, output: 'probabilities', logits: true })
  const [input] = imported.inputs
  const { model } = trainingGraph((network) => {
    const target = network.graph.input('labels', 'int64', ['batch'])
    const pixels = network.graph.input(input.name, input.dtype, input.shape)
    return classifierLoss(buildImported(network, imported, { [input.name]: pixels }), target)
  })
  const named = sets.map(({ axes, ...set }) => ({
    ...set,
    axes: axes.map((axis) => ({ ...axis, parameter: pathOf(axis.parameter) })),
  }))
  const weights = initialWeights(imported)
  return scores({ model, weights, batches: await labelled(subject, rows) }, named, threads)
}

async function scores({ model, weights, batches }: Lost, sets: readonly UnitSet[], threads: number) {
  const session = await openSession(writeModel(model), threads)
  const stored = Object.fromEntries(
    session.inputNames.flatMap((name) =>
      weights[name] ? [[name, new ort.Tensor('float32', weights[name].data, weights[name].dims)]] : [],
    ),
  )
  const wanted = [
    ...new Set(sets.flatMap(({ axes }) => axes.filter(({ makes }) => makes).map((axis) => axis.parameter))),
  ]
  const totals = sets.map(({ units }) => new Float64Array(units))
  try {
    for (const batch of batches) {
      const feeds = { ...stored, ...batch, share: new ort.Tensor('float32', Float32Array.of(1), []) }
      const results = await session.run(feeds, wanted.map(gradientName))
      const gradients = Object.fromEntries(
        wanted.map((name) => [name, results[gradientName(name)].data as Float32Array]),
      )
      sets.forEach((set, s) => {
        const sums = sumsOf(set, weights, gradients)
        for (let unit = 0; unit < sums.length; unit++) totals[s][unit] += sums[unit] ** 2
      })
    }
  } finally {
    await session.release()
  }
  return totals
}

/** Σ gradient · weight of the numbers that make each unit. */
function sumsOf({ units, axes }: UnitSet, weights: Weights, gradients: Record<string, Float32Array>): Float64Array {
  const sums = new Float64Array(units)
  for (const { parameter, axis, part, unitOf, makes } of axes) {
    if (!makes) continue
    const { dims, data } = weights[parameter]
    const gradient = gradients[parameter]
    const inside = dims.slice(axis + 1).reduce((a, b) => a * b, 1)
    const outside = dims.slice(0, axis).reduce((a, b) => a * b, 1)
    const each = outside / dims[0] || 1 // outer indices within one part, when the axis is not the first
    for (let out = 0; out < outside; out++) {
      if (part !== undefined && Math.floor(out / each) !== part) continue
      for (let i = 0; i < dims[axis]; i++) {
        const unit = unitOf(i)
        if (unit === undefined) continue
        const start = (out * dims[axis] + i) * inside
        for (let at = start; at < start + inside; at++) sums[unit] += data[at] * gradient[at]
      }
    }
  }
  return sums
}
