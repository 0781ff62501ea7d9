import { race } from './lib/race.ts'
import { textWork } from './lib/work.ts'

export const description = 'a training step of a TextCNN against PyTorch (ATHANOR_PYTHON names a Python that has torch)'

const [rows, time, width, filters] = [32, 64, 128, 100]
const sizes = [3, 4, 5]
const config = { rows, time, vocabulary: 8000, width, filters, narrowest: sizes[0], windows: sizes.length }
const products = sizes.reduce((sum, size) => sum + rows * (time + size - 1) * filters * width * size, 0)

export const work = textWork('textcnn', config, { products, goal: 1.2 })
export const run = (log: (line: string) => void) => race('train-textcnn', work, log)
