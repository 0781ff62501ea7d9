import { race } from './lib/race.ts'
import { textWork } from './lib/work.ts'

export const description = 'a training step of an LSTM against PyTorch (ATHANOR_PYTHON names a Python that has torch)'

const [rows, time, width, hidden] = [32, 64, 128, 128]
const config = { rows, time, vocabulary: 8000, width, hidden, layers: 1, bidirectional: false, pooling: 'last' }

export const work = textWork('lstm', config, { products: rows * time * 4 * hidden * (width + hidden), goal: 1.2 })
export const run = (log: (line: string) => void) => race('train-lstm', work, log)
