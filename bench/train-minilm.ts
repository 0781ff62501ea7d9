import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { trainingGraph } from '../src/autograd/training.ts'
import { writeConfig } from '../src/formats/huggingface/config.ts'
import { folderFiles, readFolder } from '../src/formats/huggingface/folder.ts'
import { publishedName } from '../src/formats/huggingface/names.ts'
import { writeSafetensors } from '../src/formats/safetensors.ts'
import { float32 } from '../src/graph/tensor.ts'
import { type EncoderConfig, FULL } from '../src/nn/bert.ts'
import { encoderLoss, encoderParameters } from '../src/nn/encoders.ts'
import type { Weights } from '../src/train/checkpoint.ts'
import { race } from './lib/race.ts'
import type { Work } from './lib/work.ts'

export const description =
  'a fine-tuning step of MiniLM-L6 against PyTorch (ATHANOR_PYTHON has torch and transformers; ATHANOR_MINILM names its folder, else its sizes are taken)'

const [rows, time] = [16, 64]
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

/** Multiplications of the layers' products, forwards. */
function products(): number {
  const { width, inner, layers } = sizes
  return layers * rows * time * (4 * width * width + 2 * width * inner + 2 * time * width)
}

export const work: Work = {
  peer: 'minilm.py',
  config: { family: 'bert', time, vocabulary: sizes.vocabulary },
  rows,
  flops: 3 * 2 * products(),
  goal: 1,
  learningRate: 2e-5,
  turn: 3,
  graph: () => trainingGraph((network) => encoderLoss(network, sizes, head, { tuning: FULL, dropout: 0 })),
  weights: startingWeights,
  batch(step) {
    const ids = BigInt64Array.from({ length: rows * time }, (_, i) =>
      BigInt(1000 + ((i * 7919 + step * 104_729) % (sizes.vocabulary - 1000))),
    )
    const lengths = BigInt64Array.from({ length: rows }, () => BigInt(time))
    const labels = BigInt64Array.from({ length: rows }, (_, r) => BigInt((r + step) % 2))
    const tensor = (dims: number[], data: BigInt64Array) => ({ type: 'int64', dims, data }) as const
    const tensors = { ids: tensor([rows, time], ids), lengths: tensor([rows], lengths), labels: tensor([rows], labels) }
    return { tensors, rows, sizes: { time } }
  },
}

/** The peer reads the weights from a folder as they are published. */
export async function run(log: (line: string) => void) {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-minilm-'))
  try {
    const published = writeConfig({ config: sizes, task: head.task, labels: ['a', 'b'] })
    writeFileSync(join(folder, 'config.json'), JSON.stringify(published))
    const tensors = Object.entries(await startingWeights()).map(
      ([path, { dims, data }]) => [publishedName(path, 'bert', head.task), float32(dims, data)] as const,
    )
    writeFileSync(join(folder, 'model.safetensors'), writeSafetensors(tensors, { format: 'pt' }))
    return await race('train-minilm', { ...work, config: { ...work.config, folder } }, log)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Published weights with a head drawn by formula; all by formula where there are none. */
async function startingWeights(): Promise<Weights> {
  const path = process.env.ATHANOR_MINILM
  const read = (name: string) => async () => readFileSync(join(path!, name))
  const there = folderFiles.filter((name) => path && existsSync(join(path, name)))
  const published = path ? (await readFolder(new Map(there.map((name) => [name, read(name)])))).weights : {}
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
