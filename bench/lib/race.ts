import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import ort from '../../src/base/onnxruntime.ts'
import { GraphBuilder } from '../../src/graph/builder.ts'
import { writeModel } from '../../src/graph/codec.ts'
import * as o from '../../src/graph/ops.ts'
import type { Result } from '../main.ts'
import { asTrainer, Racer } from './racer.ts'
import { median } from './statistics.ts'
import { fills, type Work } from './work.ts'

const ROUNDS = 8
const SIZE = 1024

/** Steps of one work by us and by PyTorch with its default and its fused Adam, in turns, two threads each. */
export async function race(name: string, work: Work, log: (line: string) => void): Promise<Result[]> {
  const ours = new Racer(...asTrainer('./ours.ts', name))
  await ours.ask()
  const peers: Racer[] = []
  const python = process.env.ATHANOR_PYTHON
  if (!python) log('peer left out: set ATHANOR_PYTHON to a Python that has torch')
  for (const optimizer of python ? ['default', 'fused'] : []) {
    const peer = new Racer(python!, [fileURLToPath(new URL(`../peers/${work.peer}`, import.meta.url))])
    const { config, learningRate } = work
    const parameters = work.weights ? [] : fills(work.graph())
    const told = { ...config, rows: work.rows, learningRate, optimizer, parameters }
    log(`peer: torch ${(await peer.ask<{ torch: string }>(JSON.stringify(told))).torch}, ${optimizer} Adam`)
    peers.push(peer)
  }
  const losses: number[][] = []
  for (const racer of [ours, ...peers]) losses.push(await racer.ask<number[]>('losses 10'))

  const product = await matrixProduct()
  const peaks: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const turns = [ours, ...peers]
    for (const racer of round % 2 ? turns.reverse() : turns) {
      await setTimeout(300) // idle threads of the one before have stopped spinning
      await racer.run(work.turn)
    }
    peaks.push(await product())
    if (peers.length) peaks.push(...(await peers[0].ask<number[]>(`product ${SIZE}`)))
  }
  const memory = [ours, ...peers].map(({ peakMemory }) => peakMemory)
  for (const racer of [ours, ...peers]) racer.end()

  const [peer, fused] = peers
  const step = median(ours.times)
  const peak = Math.max(...peaks)
  const against = (other: Racer | undefined, value: number, of: (racer: Racer) => number) =>
    other ? { peer: of(other), ratio: of(other) / value } : {}
  const least = (racer: Racer) => Math.min(...racer.times)
  const middle = (racer: Racer) => median(racer.times)
  const results: Result[] = [
    { measure: `step (goal ${work.goal}x)`, value: step, unit: 'ms', ...against(peer, step, middle) },
    { measure: 'step, peer with fused Adam', value: step, unit: 'ms', ...against(fused, step, middle) },
    { measure: 'fastest step', value: least(ours), unit: 'ms', ...against(peer, least(ours), least) },
    {
      measure: 'fastest step, peer with fused Adam',
      value: least(ours),
      unit: 'ms',
      ...against(fused, least(ours), least),
    },
    {
      measure: 'processor time a step',
      value: ours.processor,
      unit: 'ms',
      ...against(peer, ours.processor, ({ processor }) => processor),
    },
    { measure: 'throughput', value: (work.rows * 1000) / step, unit: 'samples/s' },
    { measure: 'matrix products', value: work.flops / step / 1e6, unit: 'GFLOP/s' },
    {
      measure: 'share of the machine’s matrix-product peak',
      value: work.flops / step / 1e6 / peak,
      unit: '',
      floor: peak,
    },
    {
      measure: 'peak resident memory',
      value: memory[0],
      unit: 'MB',
      ...(peer && { peer: memory[1], ratio: memory[1] / memory[0] }),
    },
  ]
  if (peer)
    results.push({
      measure: 'largest difference of the first 10 losses',
      value: Math.max(...losses[0].map((loss, i) => Math.abs(loss - losses[1][i]))),
      unit: '',
    })
  return results.filter(({ measure }) => fused || !measure.includes('fused'))
}

/** Measures a product of square matrices by onnxruntime with two threads; GFLOP/s, the best of some. */
async function matrixProduct(): Promise<() => Promise<number>> {
  const graph = new GraphBuilder()
  const [a, b] = ['a', 'b'].map((name) => graph.input(name, 'float32', [SIZE, SIZE]))
  graph.output(o.matMul(a, b), 'product')
  const session = await ort.InferenceSession.create(writeModel(graph.build()), { intraOpNumThreads: 2 })
  const matrix = () =>
    new ort.Tensor(
      'float32',
      Float32Array.from({ length: SIZE * SIZE }, (_, i) => Math.sin(i)),
      [SIZE, SIZE],
    )
  const feeds = { a: matrix(), b: matrix() }
  return async () => {
    let best = 0
    for (let i = 0; i < 20; i++) {
      const started = performance.now()
      await session.run(feeds)
      best = Math.max(best, (2 * SIZE ** 3) / (performance.now() - started) / 1e6)
    }
    return best
  }
}
