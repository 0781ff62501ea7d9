import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { trainingGraph } from '../src/autograd/training.ts'
import { FULL } from '../src/nn/bert.ts'
import { encoderLoss } from '../src/nn/encoders.ts'
import { asTrainer, Racer } from './lib/racer.ts'
import { median } from './lib/statistics.ts'
import { fills, textWork, type Work } from './lib/work.ts'
import type { Result } from './main.ts'
import { decoderWork } from './train-gpt.ts'
import { imageWork } from './train-resnet.ts'

export const description =
  'resident memory over 10,000 steps of a tiny network of each kind, and the peak of ten steps of the races’ networks against PyTorch (ATHANOR_STEPS, ATHANOR_BENCH_ONLY, ATHANOR_PYTHON)'

const STEPS = Number(process.env.ATHANOR_STEPS ?? 10_000)

const text = { rows: 16, time: 8, vocabulary: 50, width: 8, dropout: 0.1 }
const wide = { ...text, width: 16, layers: 1, heads: 2, inner: 32 }
const unmeasured = { products: 0, goal: 1 }
type Walk = Pick<Work, 'graph' | 'batch' | 'rows' | 'learningRate'> & { threads?: number }
export const works: Record<string, Walk> = {
  LSTM: textWork('lstm', { ...text, hidden: 8, layers: 1, bidirectional: true, pooling: 'max' }, unmeasured),
  TextCNN: textWork('textcnn', { ...text, filters: 4, narrowest: 2, windows: 2 }, unmeasured),
  bag: textWork('bow', { ...text, ngrams: 2, buckets: 500 }, unmeasured),
  Transformer: textWork('transformer', { ...wide, positions: 'waves', pooling: 'mean' }, unmeasured),
  encoder: encoderWork(),
  GPT: decoderWork({ rows: 16, time: 8, vocabulary: 50, width: 16, layers: 1, heads: 2 }).work,
  // its batches are not shared out; that two threads wait for each other within each operator takes 20 times as long on busy cores
  ResNet: { ...imageWork({ rows: 16, size: 8, width: 16, blocks: 1, classes: 10 }), threads: 1 },
}
/** The networks of the races, whose peaks are compared. */
const races = ['train-lstm', 'train-textcnn', 'train-bow', 'train-transformer', 'train-gpt', 'train-resnet']

/** Classification by an encoder of BERT's kind, all weights. */
function encoderWork() {
  const head = { task: 'text-classification', classes: 2 } as const
  const config = { ...wide, layout: 'bert', positions: 8, firstPosition: 0, types: 2, activation: 'gelu' } as const
  const sizes = { ...config, epsilon: 1e-12, padding: 0 }
  const graph = () => trainingGraph((network) => encoderLoss(network, sizes, head, { tuning: FULL, dropout: 0.1 }))
  return { ...textWork('transformer', wide, unmeasured), graph }
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const only = process.env.ATHANOR_BENCH_ONLY?.split(',')
  const wanted = (name: string) => only?.includes(name) ?? true
  const results: Result[] = []
  for (const name of Object.keys(works).filter(wanted)) {
    const resident = await residentOf(name, (at, mb) => log(`${name}: step ${at}: ${mb.toFixed(1)} MB`))
    // of a fifth of all steps the middle: when garbage is collected is chance
    const fifth = (k: number) => median(resident.slice((k * resident.length) / 5, ((k + 1) * resident.length) / 5))
    const [early, late] = [fifth(1), fifth(4)]
    results.push(
      { measure: `${name}: resident, steps from a fifth on`, value: early, unit: 'MB' },
      { measure: `${name}: resident, last fifth of ${STEPS} steps`, value: late, unit: 'MB', floor: early },
      { measure: `${name}: growth a step`, value: ((late - early) * 1024) / (0.6 * STEPS), unit: 'kB' },
    )
  }
  for (const name of races.filter(wanted)) results.push(...(await peaksOf(name, log)))
  return results
}

/** Resident memory of a process that does nothing but train, at each hundredth of the steps. */
async function residentOf(name: string, tell: (step: number, mb: number) => void): Promise<number[]> {
  const child = spawn(...asTrainer('./steps.ts', name, String(STEPS)), { stdio: ['ignore', 'pipe', 'inherit'] })
  const resident: number[] = []
  for await (const line of createInterface(child.stdout)) {
    resident.push(Number(line))
    if (resident.length % 20 === 0) tell((resident.length * STEPS) / 100, resident.at(-1)!)
  }
  if (resident.length < 100) throw new Error(`${name} ended before its steps`)
  return resident
}

/** The most memory during ten steps, ours and PyTorch's. */
async function peaksOf(name: string, log: (line: string) => void): Promise<Result[]> {
  const { work } = (await import(`./${name}.ts`)) as { work: Work }
  const ours = new Racer(...asTrainer('./ours.ts', name))
  await ours.ask()
  await ours.ask('losses 10')
  const value = ours.peakMemory
  ours.end()
  const python = process.env.ATHANOR_PYTHON
  if (!python) return [{ measure: `${name}: peak of ten steps`, value, unit: 'MB' }]
  const peer = new Racer(python, [fileURLToPath(new URL(`./peers/${work.peer}`, import.meta.url))])
  const { config, learningRate } = work
  await peer.ask(
    JSON.stringify({ ...config, rows: work.rows, learningRate, optimizer: 'default', parameters: fills(work.graph()) }),
  )
  await peer.ask('losses 10')
  const theirs = peer.peakMemory
  peer.end()
  log(`${name}: ${value.toFixed(0)} : ${theirs.toFixed(0)} MB`)
  const against = { peer: theirs, ratio: theirs / value }
  return [{ measure: `${name}: peak of ten steps`, value, unit: 'MB', ...against }]
}
