import { racePython } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against LitServe (ATHANOR_PYTHON has litserve, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

export const run = racePython({
  name: 'LitServe',
  script: 'litserve_encoder.py',
  path: '/predict',
  body: (text) => ({ text }),
})
