import assert from 'node:assert/strict'
import { test } from 'node:test'
import { trainingGraph } from '../autograd/training.ts'
import ort from '../base/onnxruntime.ts'
import { writeModel } from '../graph/codec.ts'
import { classifierInputs, families, inferenceGraph } from './families.ts'
import type { TextFamily } from './family.ts'
import type { Weights } from './inference.ts'
import { classifierLoss } from './losses.ts'
import { type Member, meanOf, memberScope } from './mean.ts'

const sizes = { vocabulary: 20, classes: 3 }
const members: Member[] = [
  { family: families.bow, options: { width: 4, ngrams: 2, buckets: 30, weighting: 'rarity', dropout: 0.5 } },
  { family: families.textcnn, options: { width: 5, filters: 4, narrowest: 1, windows: 2, dropout: 0.5 } },
]

/** Weights by formula for all parameters of a family, frozen ones too. */
function weightsOf({ family, options }: Member): Weights {
  const { parameters, frozen } = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const labels = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(family.build(network, ids, lengths, { ...options, ...sizes }), labels)
  })
  return Object.fromEntries(
    [...parameters, ...frozen].map(({ name, dims }, k) => {
      const length = dims.reduce((a, b) => a * b, 1)
      return [name, { data: Float32Array.from({ length }, (_, i) => Math.sin(i * 1.3 + k)) }]
    }),
  )
}

async function logits(family: TextFamily, options: Member['options'], weights: Weights): Promise<number[]> {
  const model = inferenceGraph(family, { ...options, ...sizes }, weights)
  const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
  const tensor = (values: number[], dims: number[]) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims)
  const ids = tensor([3, 7, 9, 2, 5, 11, 0, 0], [2, 4])
  const result = await session.run({ ids, lengths: tensor([4, 2], [2]) })
  await session.release()
  return [...(result.logits.data as Float32Array)]
}

test('the mean of two networks, each with its own weights in a scope of its own', async () => {
  const weights = members.map(weightsOf)
  const [one, two] = await Promise.all(members.map(({ family, options }, i) => logits(family, options, weights[i])))
  const all = weights.flatMap((own, at) =>
    Object.entries(own).map(([name, weight]) => [`${memberScope(at)}/${name}`, weight] as const),
  )
  const both = await logits(meanOf(members), {}, Object.fromEntries(all))
  assert.equal(both.length, 2 * sizes.classes)
  both.forEach((value, i) => {
    assert.ok(Math.abs(value - (one[i] + two[i]) / 2) < 1e-5 && Math.abs(one[i] - two[i]) > 1e-3, `${value}`)
  })
})
