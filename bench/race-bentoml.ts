import { fileURLToPath } from 'node:url'
import { raceEncoder } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against BentoML (ATHANOR_PYTHON has bentoml, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

const folder = fileURLToPath(new URL('./peers', import.meta.url))
const python = process.env.ATHANOR_PYTHON ?? 'python3'

export const run = (log: (line: string) => void) =>
  raceEncoder(
    {
      name: 'BentoML',
      command: [python, `${folder}/bentoml_encoder.py`, '{folder}', '{port}', '{threads}'],
      path: '/embed',
      body: (text) => ({ texts: [text] }),
    },
    log,
  )
