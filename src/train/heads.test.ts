import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { trainingGraph } from '../autograd/training.ts'
import type { Problem } from '../base/problem.ts'
import * as o from '../graph/ops.ts'
import { heads } from '../nn/heads.ts'
import type { Batch, BatchTensor } from './batch.ts'
import { type Schedule, schedules } from './schedule.ts'
import { bestThresholds, scorerOf } from './scores.ts'
import { TrainingSession } from './session.ts'
import { classWeightsOf } from './targets.ts'

/** What tools/golden_heads.py recorded from PyTorch. */
const golden = JSON.parse(readFileSync(new URL('../nn/heads.golden.json', import.meta.url), 'utf8')) as {
  losses: {
    head: Problem
    logits: number[][]
    target: number[] | number[][]
    loss: number
    gradient: number[][]
    smoothing?: number
    weights?: number[]
  }[]
  steps: number
  schedules: Record<'linear' | 'cosine' | 'one-cycle', number[]>
}
const near = (value: number, expected: number, what: string, tolerance = 1e-5) =>
  assert.ok(Math.abs(value - expected) <= tolerance * Math.max(1, Math.abs(expected)), `${what}: ${value}, ${expected}`)
const floats = (dims: number[], values: number[]): BatchTensor => ({
  type: 'float32',
  dims,
  data: Float32Array.from(values),
})

for (const { head, logits, target, loss, gradient, smoothing, weights } of golden.losses) {
  test(`${head}${smoothing ? ', smoothed' : ''}${weights ? ', weighted' : ''}: loss and gradient are PyTorch's`, async () => {
    const [rows, width] = [logits.length, logits[0].length]
    // the logits are a parameter, so that their gradient moves them: plain descent by 1 subtracts it
    const graph = trainingGraph((network) => {
      const table = network.parameter('logits', [rows, width], { kind: 'zeros' })
      const at = network.graph.input('at', 'int64', ['batch'])
      const truth = heads[head].target(network.graph, width)
      const each = weights && { weights: network.graph.input('weights', 'float32', ['batch']) }
      return heads[head].loss(
        o.within(network.graph, () => o.gather(table, at)),
        truth,
        { ...(smoothing && { smoothing }), ...each },
      )
    })
    const whole = target.flat()
    const batchOf = (from: number, to: number): Batch => ({
      tensors: {
        at: {
          type: 'int64',
          dims: [to - from],
          data: BigInt64Array.from({ length: to - from }, (_, i) => BigInt(from + i)),
        },
        labels:
          head === 'classification'
            ? { type: 'int64', dims: [to - from], data: BigInt64Array.from(whole.slice(from, to), BigInt) }
            : floats([to - from, width], whole.slice(from * width, to * width)),
        ...(weights && { weights: floats([to - from], weights.slice(from, to)) }),
      },
      rows: to - from,
      sizes: {},
      ...(weights && { weights: weights.slice(from, to) }),
    })
    // at once, and as two batches of unequal size whose gradients are summed
    for (const batches of [[batchOf(0, rows)], [batchOf(0, 2), batchOf(2, rows)]]) {
      const session = await TrainingSession.create(graph, {
        optimizer: 'sgd',
        weightDecay: 0,
        clipNorm: 0,
        seed: 1,
        threads: 1,
        batchSize: 8,
      })
      session.restore({ logits: { dims: [rows, width], data: Float32Array.from(logits.flat()) } }, 0)
      const result = await session.train(batches, 1)
      near(result.loss, loss, 'loss')
      const moved = session.parameters().logits.data
      logits.flat().forEach((value, i) => {
        near(value - moved[i], gradient.flat()[i], `gradient ${i}`, 1e-5 * (1 + Math.abs(value)))
      })
      await session.close()
    }
  })
}

test("schedules are PyTorch's; warm-up rises, a constant stays", () => {
  for (const [name, rates] of Object.entries(golden.schedules) as ['linear' | 'cosine' | 'one-cycle', number[]][]) {
    // PyTorch's cycle has a step more than there are rates to use
    const steps = name === 'one-cycle' ? golden.steps + 1 : golden.steps
    const schedule: Schedule = schedules[name]
    rates.forEach((rate, step) => {
      // without warm-up the first step has the peak already, as with one step of it
      if (name !== 'one-cycle') {
        const over = schedule(step + 1, golden.steps + 1, 0)
        near(over, rate, `${name} ${step}`)
      } else near(schedule(step, steps, 0), rate, `${name} ${step}`, 1e-6)
    })
  }
  assert.deepEqual(
    [0, 4, 9, 50].map((step) => schedules.constant(step, 100, 0.1)),
    [0.1, 0.5, 1, 1],
  )
})

test('the moving average of weights is what its rule says, also after a stop', async () => {
  const graph = trainingGraph((network) => {
    const w = network.parameter('w', [4], { kind: 'ones' })
    const x = network.graph.input('x', 'float32', ['batch', 4])
    const loss = o.within(network.graph, () => o.reduceMean(o.mul(x, w)))
    return { loss, correct: o.within(network.graph, () => o.reduceSum(o.cast(o.greater(x, 9), 'int64'))) }
  })
  const options = {
    optimizer: 'sgd',
    weightDecay: 0,
    clipNorm: 0,
    seed: 1,
    threads: 1,
    batchSize: 1,
    average: 0.5,
  } as const
  const batch: Batch = { tensors: { x: floats([1, 4], [1, 2, 3, 4]) }, rows: 1, sizes: {} }
  let session = await TrainingSession.create(graph, options)
  const expected = [1, 1, 1, 1]
  for (let step = 1; step <= 8; step++) {
    await session.train(batch, 0.1)
    const keep = Math.fround(Math.min(0.5, (1 + step) / (10 + step)))
    session.parameters().w.data.forEach((value, i) => {
      expected[i] = expected[i] * keep + value * (1 - keep)
    })
    session.averages().w.data.forEach((value, i) => {
      near(value, expected[i], `step ${step}`)
    })
    if (step !== 4) continue
    const state = session.state()
    await session.close()
    session = await TrainingSession.create(graph, options)
    session.restore(state, 4)
  }
  await session.close()
})

test('scores: several labels, numbers, thresholds', () => {
  const several = scorerOf('multi-label', ['a', 'b', 'c'], [0.5, 0.5, 0.2])
  several.add([0, 2], Float32Array.of(0.9, 0.1, 0.3))
  several.add([1], Float32Array.of(0.8, 0.9, 0.1))
  several.add([], Float32Array.of(0.1, 0.2, 0.1))
  const { microF1, macroF1, subsetAccuracy } = several.metrics()
  near(microF1, 6 / 7, 'micro')
  near(macroF1, (2 / 3 + 1 + 1) / 3, 'macro')
  near(subsetAccuracy, 2 / 3, 'subset')

  const numbers = scorerOf('regression', ['score'])
  for (const [truth, given] of [
    [1, 2],
    [2, 1],
    [3, 3],
    [3, 5],
  ])
    numbers.add(truth, Float32Array.of(given))
  const found = numbers.metrics()
  near(found.mae, 1, 'mae')
  near(found.rmse, Math.sqrt(6 / 4), 'rmse')
  near(found.r2, 1 - 6 / 2.75, 'r2')
  near(found.spearman, 0.7378648, 'spearman') // scipy.stats.spearmanr([1, 2, 3, 3], [2, 1, 3, 5])

  const rows = Array.from({ length: 20 }, (_, i) => ({
    truth: i < 6 ? [0] : [1],
    scores: Float32Array.of((20 - i) / 40, 0.9),
  }))
  const [low, other] = bestThresholds(2, rows)
  assert.ok(low > 14 / 40 && low < 15 / 40, `${low} parts the six from the rest`)
  assert.ok(other < 0.9)
  assert.deepEqual(bestThresholds(1, rows.slice(0, 3)), [0.5])
})

test('class weights: balanced, given, refused', () => {
  const shares = { a: 0.5, b: 0.3, c: 0.2 }
  const balanced = classWeightsOf('balanced', 'classification', ['a', 'b', 'c'], shares)!
  near(balanced[0] * 0.5 + balanced[1] * 0.3 + balanced[2] * 0.2, 1, 'a mean of one')
  near(balanced[2] / balanced[0], 2.5, 'by their rows')
  assert.deepEqual(classWeightsOf('b=2, c=0.5', 'classification', ['a', 'b', 'c'], shares), Float32Array.of(1, 2, 0.5))
  for (const asked of ['d=2', 'b=-1', 'b=x', 'nonsense'])
    assert.throws(() => classWeightsOf(asked, 'classification', ['a', 'b', 'c'], shares), { code: 'OPTION_INVALID' })
})
