import { fileURLToPath } from 'node:url'
import { raceEncoder } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against MLServer (ATHANOR_PYTHON has mlserver, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

const script = fileURLToPath(new URL('./peers/mlserver_encoder.py', import.meta.url))
const python = process.env.ATHANOR_PYTHON ?? 'python3'

/** Its inference processes; with none it infers in the process that answers, which is faster here. */
const workers = process.env.WORKERS ?? '0'

export const run = (log: (line: string) => void) =>
  raceEncoder(
    {
      name: 'MLServer',
      command: [python, script, '{folder}', '{port}', '{threads}', workers],
      path: '/v2/models/encoder/infer',
      body: (text) => ({ inputs: [{ name: 'text', shape: [1, 1], datatype: 'BYTES', data: [text] }] }),
    },
    log,
  )
