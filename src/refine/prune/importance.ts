import ort from 'onnxruntime-node'
import { gradientName, trainingGraph } from '../../autograd/training.ts'
import type { Sample } from '../../data/samples.ts'
import { openSession, toOrt } from '../../engine/session.ts'
import { writeModel } from '../../graph/codec.ts'
import { int64 } from '../../graph/tensor.ts'
import { classifierInputs } from '../../nn/families.ts'
import { classifierLoss } from '../../nn/losses.ts'
import type { Weights } from '../../train/checkpoint.ts'
import { feedsFor, ortFeeds } from '../inputs.ts'
import type { Subject } from '../subject.ts'
import { configOf, type Trained } from './network.ts'
import type { UnitSet } from './units.ts'

/**
 * How much each unit matters to the loss: the mean over batches of (Σ gradient · weight)² of the numbers that make it, the
 * first-order estimate of what taking it out costs (Molchanov et al. 2019). Gradients come from the training graph without
 * dropout.
 */
export async function importance(
  subject: Subject,
  { family, options, weights }: Trained,
  sets: readonly UnitSet[],
  rows: readonly Sample[],
  threads: number,
): Promise<Float64Array[]> {
  const config = configOf(subject, weights, { ...options, dropout: 0 })
  const { model, parameters } = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const target = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, ids, lengths, config), target)
  })
  const stored = Object.fromEntries(
    parameters.map(({ name, dims }) => [name, new ort.Tensor('float32', weights[name].data, dims)]),
  )
  const wanted = [
    ...new Set(sets.flatMap(({ axes }) => axes.filter(({ makes }) => makes).map((axis) => axis.parameter))),
  ]
  const session = await openSession(writeModel(model), threads)
  const totals = sets.map(({ units }) => new Float64Array(units))
  try {
    for (const batch of await feedsFor(
      subject,
      rows.map(({ text }) => text),
    )) {
      const labels = batch.rows.map((row) => subject.manifest.labels.indexOf(rows[row].label))
      const feeds = {
        ...stored,
        ...ortFeeds(batch),
        labels: toOrt(int64([labels.length], labels)),
        share: new ort.Tensor('float32', Float32Array.of(1), []),
      }
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
