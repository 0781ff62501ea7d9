import { fileURLToPath } from 'node:url'
import { raceEncoder } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against Triton (ATHANOR_PYTHON has nvidia-pytriton, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

const script = fileURLToPath(new URL('./peers/triton_encoder.py', import.meta.url))
const python = process.env.ATHANOR_PYTHON ?? 'python3'

export const run = (log: (line: string) => void) =>
  raceEncoder(
    {
      name: 'Triton',
      command: [python, script, '{folder}', '{port}', '{threads}'],
      path: '/v2/models/encoder/infer',
      body: (text) => ({ inputs: [{ name: 'text', shape: [1, 1], datatype: 'BYTES', data: [text] }] }),
    },
    log,
  )
