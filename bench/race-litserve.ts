import { fileURLToPath } from 'node:url'
import { raceEncoder } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against LitServe (ATHANOR_PYTHON has litserve, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

const script = fileURLToPath(new URL('./peers/litserve_encoder.py', import.meta.url))
const python = process.env.ATHANOR_PYTHON ?? 'python3'

export const run = (log: (line: string) => void) =>
  raceEncoder(
    {
      name: 'LitServe',
      command: [python, script, '{folder}', '{port}', '{threads}'],
      path: '/predict',
      body: (text) => ({ text }),
    },
    log,
  )
