import { fileURLToPath } from 'node:url'
import { raceEncoder } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against MLflow’s scoring server (ATHANOR_PYTHON has mlflow, onnxruntime, tokenizers; ATHANOR_MINILM)'

const script = fileURLToPath(new URL('./peers/mlflow_encoder.py', import.meta.url))
const python = process.env.ATHANOR_PYTHON ?? 'python3'

export const run = (log: (line: string) => void) =>
  raceEncoder(
    {
      name: 'MLflow',
      command: [python, script, '{folder}', '{port}', '{threads}'],
      path: '/invocations',
      body: (text) => ({ inputs: [text] }),
    },
    log,
  )
