import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { trainingGraph } from '../src/autograd/training.ts'
import { writeConfig } from '../src/formats/huggingface/config.ts'
import { folderFiles, readFolder } from '../src/formats/huggingface/folder.ts'
import { publishedName } from '../src/formats/huggingface/names.ts'
import { writeSafetensors } from '../src/formats/safetensors.ts'
import { float32 } from '../src/graph/tensor.ts'
import { type EncoderConfig, FULL } from '../src/nn/bert.ts'
import { encoderLoss, encoderParameters } from '../src/nn/encoders.ts'
import type { Batch } from '../src/train/batch.ts'
import type { Weights } from '../src/train/checkpoint.ts'
import { TrainingSession } from '../src/train/session.ts'
import { peakMemory } from './lib/racer.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description =
  'a fine-tuning step of MiniLM-L6 against PyTorch (ATHANOR_PYTHON has torch and transformers; ATHANOR_MINILM names its folder, else its sizes are taken)'

const [rows, time, rounds, steps] = [16, 64, 5, 4]
const head = { task: 'text-classification', classes: 2 } as const
const sizes: EncoderConfig = {
  layout: 'bert',
  vocabulary: 30_522,
  width: 384,
  layers: 6,
  heads: 12,
  inner: 1536,
  positions: 512,
  firstPosition: 0,
  types: 2,
  activation: 'gelu',
  epsilon: 1e-12,
  padding: 0,
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const weights = await startingWeights()
  const folder = mkdtempSync(join(tmpdir(), 'athanor-minilm-'))
  try {
    const published = writeConfig({ config: sizes, task: head.task, labels: ['a', 'b'] })
    writeFileSync(join(folder, 'config.json'), JSON.stringify(published))
    const tensors = Object.entries(weights).map(
      ([path, { dims, data }]) => [publishedName(path, 'bert', head.task), float32(dims, data)] as const,
    )
    writeFileSync(join(folder, 'model.safetensors'), writeSafetensors(tensors, { format: 'pt' }))
    return await compare(weights, folder, log)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function compare(weights: Weights, folder: string, log: (line: string) => void): Promise<Result[]> {
  const ours = await createOurs(weights)
  const peers = { default: await startPeer(folder, 'default', log), fused: await startPeer(folder, 'fused', log) }
  const ourLosses = (await ours(5)).losses
  const peerLosses = await peers.default?.('losses', 5)
  await peers.fused?.('losses', 5)
  const times = { ours: [] as number[], default: [] as number[], fused: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    const turns: (keyof typeof times)[] = ['ours', 'default', 'fused']
    for (const turn of round % 2 ? turns.reverse() : turns) {
      await setTimeout(300) // idle threads of the one before have stopped spinning
      if (turn === 'ours') times.ours.push(...(await ours(steps)).times)
      else times[turn].push(...((await peers[turn]?.('time', steps)) ?? []))
    }
  }
  const memory = { ours: peakMemory(process.pid), peer: peers.default?.peakMemory() }
  for (const peer of Object.values(peers)) peer?.end()
  const step = median(times.ours)
  const results: Result[] = [
    { measure: 'step', value: step, unit: 'ms', ...against(times.default, step) },
    ...(times.fused.length
      ? [{ measure: 'step, peer with fused AdamW', value: step, unit: 'ms', ...against(times.fused, step) }]
      : []),
    { measure: 'throughput', value: (rows * 1000) / step, unit: 'samples/s' },
    { measure: 'matrix products', value: products() / step / 1e6, unit: 'GFLOP/s' },
    {
      measure: 'peak resident memory',
      value: memory.ours,
      unit: 'MB',
      ...(memory.peer && { peer: memory.peer, ratio: memory.peer / memory.ours }),
    },
  ]
  if (peerLosses) {
    const difference = Math.max(...ourLosses.map((loss, i) => Math.abs(loss - peerLosses[i]) / peerLosses[i]))
    results.push({ measure: 'largest relative difference of the first 5 losses', value: difference, unit: '' })
  }
  return results
}

/** Floating-point operations of a step's matrix products: twice those of the forward pass again for the backward pass. */
function products(): number {
  const { width, inner, layers } = sizes
  const tokens = rows * time
  const layer = tokens * (4 * width * width + 2 * width * inner + 2 * time * width)
  return 3 * 2 * layers * layer
}

const against = (peer: number[], step: number) =>
  peer.length ? { peer: median(peer), ratio: median(peer) / step } : {}

/** Published weights with a head drawn by formula; all by formula where there are none. */
async function startingWeights(): Promise<Weights> {
  const path = process.env.ATHANOR_MINILM
  const published = path
    ? (
        await readFolder(
          new Map(
            folderFiles
              .filter((name) => existsSync(join(path, name)))
              .map((name) => [name, async () => readFileSync(join(path, name))]),
          ),
        )
      ).weights
    : {}
  return Object.fromEntries(
    encoderParameters(sizes, head).map(({ name, dims }, k) => {
      const length = dims.reduce((a, b) => a * b, 1)
      const centre = name.endsWith('scale') ? 1 : 0
      const data =
        published[name]?.data ?? Float32Array.from({ length }, (_, i) => centre + Math.sin(i * 0.7 + k) * 0.02)
      return [name, { dims, data }]
    }),
  )
}

async function createOurs(weights: Weights) {
  const graph = trainingGraph((network) => encoderLoss(network, sizes, head, { tuning: FULL, dropout: 0 }))
  const session = await TrainingSession.create(graph, {
    optimizer: 'adamw',
    weightDecay: 0,
    clipNorm: 0,
    seed: 1,
    threads: 2,
    batchSize: rows,
  })
  session.restore(weights, 0)
  return async (count: number) => {
    const losses: number[] = []
    const times: number[] = []
    for (let i = 0; i < count; i++) {
      const batch = batchAt(session.step)
      const started = performance.now()
      losses.push((await session.train(batch, 2e-5)).loss)
      times.push(performance.now() - started)
    }
    return { losses, times }
  }
}

function batchAt(step: number): Batch {
  const ids = BigInt64Array.from({ length: rows * time }, (_, i) =>
    BigInt(1000 + ((i * 7919 + step * 104_729) % (sizes.vocabulary - 1000))),
  )
  const lengths = BigInt64Array.from({ length: rows }, () => BigInt(time))
  const labels = BigInt64Array.from({ length: rows }, (_, r) => BigInt((r + step) % 2))
  const tensor = (dims: number[], data: BigInt64Array) => ({ type: 'int64', dims, data }) as const
  const tensors = { ids: tensor([rows, time], ids), lengths: tensor([rows], lengths), labels: tensor([rows], labels) }
  return { tensors, rows, sizes: { time } }
}

async function startPeer(folder: string, optimizer: string, log: (line: string) => void) {
  const python = process.env.ATHANOR_PYTHON
  if (!python) {
    log('peer left out: set ATHANOR_PYTHON to a Python that has torch and transformers')
    return undefined
  }
  const script = new URL('./peers/train_minilm.py', import.meta.url).pathname
  const child = spawn(python, [script, folder, optimizer], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async () => JSON.parse((await lines.next()).value as string)
  const { torch, transformers } = await next()
  log(`peer: torch ${torch}, transformers ${transformers}, ${optimizer} AdamW`)
  const ask = async (what: 'losses' | 'time', count: number): Promise<number[]> => {
    child.stdin.write(`${what} ${count}\n`)
    return next()
  }
  return Object.assign(ask, { end: () => child.stdin.end(), peakMemory: () => peakMemory(child.pid!) })
}
