import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { trainingGraph } from '../src/autograd/training.ts'
import { classifierInputs, classifierLoss, families } from '../src/nn/families.ts'
import type { Batch } from '../src/train/batch.ts'
import { TrainingSession } from '../src/train/session.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description = 'a training step of an LSTM against PyTorch (ATHANOR_PYTHON names a Python that has torch)'

const [vocabulary, width, hidden, classes, rows, time] = [8000, 128, 128, 2, 32, 64]
const ROUNDS = 8
const STEPS = 25

export async function run(log: (line: string) => void): Promise<Result[]> {
  const ours = await createOurs()
  const peers = { default: await startPeer('default', log), fused: await startPeer('fused', log) }

  const ourLosses: number[] = []
  for (let i = 0; i < 10; i++) ourLosses.push((await ours(1)).losses[0])
  const peerLosses = await peers.default?.('losses', 10)
  await peers.fused?.('losses', 10)

  const times = { ours: [] as number[], default: [] as number[], fused: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    const turns: (keyof typeof times)[] = ['ours', 'default', 'fused']
    for (const turn of round % 2 ? turns.reverse() : turns) {
      await setTimeout(300) // idle threads of the one before have stopped spinning
      if (turn === 'ours') times.ours.push(...(await ours(STEPS)).times)
      else times[turn].push(...((await peers[turn]?.('time', STEPS)) ?? []))
    }
  }
  for (const peer of Object.values(peers)) peer?.end()

  const step = median(times.ours)
  const results: Result[] = [
    { measure: 'step', value: step, unit: 'ms', ...against(times.default, step) },
    { measure: 'throughput', value: (rows * 1000) / step, unit: 'samples/s' },
  ]
  if (times.fused.length)
    results.push({ measure: 'step, peer with fused Adam', value: step, unit: 'ms', ...against(times.fused, step) })
  if (peerLosses) {
    const difference = Math.max(...ourLosses.map((loss, i) => Math.abs(loss - peerLosses[i])))
    results.push({ measure: 'largest difference of the first 10 losses', value: difference, unit: '' })
  }
  return results
}

const against = (peer: number[], step: number) =>
  peer.length ? { peer: median(peer), ratio: median(peer) / step } : {}

async function createOurs() {
  const config = { vocabulary, classes, width, hidden, layers: 1, bidirectional: false, dropout: 0, pooling: 'last' }
  const graph = trainingGraph((network) => {
    const { ids, lengths } = classifierInputs(network.graph)
    const labels = network.graph.input('labels', 'int64', ['batch'])
    return classifierLoss(families.lstm.build(network, ids, lengths, config), labels)
  })
  const session = await TrainingSession.create(graph, {
    optimizer: 'adamw',
    weightDecay: 0,
    clipNorm: 0,
    seed: 1,
    threads: 2,
    batchSize: rows,
  })
  const wave = (dims: number[], k: number, scale: number) => {
    const length = dims.reduce((a, b) => a * b, 1)
    return { dims, data: Float32Array.from({ length }, (_, i) => Math.sin(i * 0.7 + k) * scale) }
  }
  const biases = [wave([4 * hidden], 3, 0.1), wave([4 * hidden], 4, 0.1)].flatMap(({ data }) => [...data])
  session.restore(
    {
      'embedding/weight': wave([vocabulary, width], 0, 0.5),
      'lstm.0/W': wave([1, 4 * hidden, width], 1, 0.1),
      'lstm.0/R': wave([1, 4 * hidden, hidden], 2, 0.1),
      'lstm.0/B': { dims: [1, 8 * hidden], data: Float32Array.from(biases) },
      'classifier/weight': wave([classes, hidden], 5, 0.1),
      'classifier/bias': wave([classes], 6, 0.1),
    },
    0,
  )
  return async (count: number) => {
    const losses: number[] = []
    const times: number[] = []
    for (let i = 0; i < count; i++) {
      const batch = batchAt(session.step)
      const started = performance.now()
      losses.push((await session.train(batch, 1e-3)).loss)
      times.push(performance.now() - started)
    }
    return { losses, times }
  }
}

function batchAt(step: number): Batch {
  const ids = BigInt64Array.from({ length: rows * time }, (_, i) =>
    BigInt(1 + ((i * 7919 + step * 104729) % (vocabulary - 1))),
  )
  const lengths = BigInt64Array.from({ length: rows }, () => BigInt(time))
  const labels = BigInt64Array.from({ length: rows }, (_, r) => BigInt((r + step) % classes))
  const tensor = (dims: number[], data: BigInt64Array) => ({ type: 'int64', dims, data }) as const
  const tensors = { ids: tensor([rows, time], ids), lengths: tensor([rows], lengths), labels: tensor([rows], labels) }
  return { tensors, rows, sizes: { time } }
}

async function startPeer(optimizer: string, log: (line: string) => void) {
  const python = process.env.ATHANOR_PYTHON
  if (!python) {
    log('peer left out: set ATHANOR_PYTHON to a Python that has torch')
    return undefined
  }
  const child = spawn(python, [new URL('./peers/train_lstm.py', import.meta.url).pathname, optimizer], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value as string)
  log(`peer: torch ${(await next()).torch}, ${optimizer} Adam`)
  const ask = async (what: 'losses' | 'time', count: number): Promise<number[]> => {
    child.stdin.write(`${what} ${count}\n`)
    return next()
  }
  return Object.assign(ask, { end: () => child.stdin.end() })
}
