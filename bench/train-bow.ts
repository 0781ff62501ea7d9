import { race } from './lib/race.ts'
import { textWork } from './lib/work.ts'

export const description = 'a training step of a bag of n-grams against PyTorch (ATHANOR_PYTHON names its Python)'

const [rows, time, width] = [64, 64, 16]
const config = { rows, time, vocabulary: 8000, width, ngrams: 2, buckets: 131_072 }

export const work = textWork('bow', config, { products: rows * width * 2 * time, goal: 1.2 })
export const run = (log: (line: string) => void) => race('train-bow', work, log)
