import { race } from './lib/race.ts'
import { textWork } from './lib/work.ts'

export const description = 'a training step of a Transformer encoder against PyTorch (ATHANOR_PYTHON names its Python)'

const [rows, time, width, layers, heads, inner] = [32, 128, 256, 4, 4, 1024]
const shape = { rows, time, vocabulary: 8000, width, layers, heads, inner }
const products = layers * rows * time * (4 * width * width + 2 * width * inner + 2 * time * width)

export const work = textWork(
  'transformer',
  { ...shape, positions: 'waves', pooling: 'mean' },
  { products, goal: 1.1, turn: 2 },
)
export const run = (log: (line: string) => void) => race('train-transformer', work, log)
