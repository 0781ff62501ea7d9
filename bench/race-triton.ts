import { protocolText } from './lib/checked.ts'
import { racePython } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against Triton (ATHANOR_PYTHON has nvidia-pytriton, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

export const run = racePython({
  name: 'Triton',
  script: 'triton_encoder.py',
  path: '/v2/models/encoder/infer',
  body: protocolText,
})
