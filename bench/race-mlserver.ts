import { protocolText } from './lib/checked.ts'
import { racePython } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against MLServer (ATHANOR_PYTHON has mlserver, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

/** Its inference processes; with none it infers in the process that answers, which is faster here. */
const workers = process.env.WORKERS ?? '0'

export const run = racePython({
  name: 'MLServer',
  script: 'mlserver_encoder.py',
  path: '/v2/models/encoder/infer',
  body: protocolText,
  more: [workers],
})
