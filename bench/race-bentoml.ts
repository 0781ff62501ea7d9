import { racePython } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against BentoML (ATHANOR_PYTHON has bentoml, onnxruntime, tokenizers; ATHANOR_MINILM: folder)'

export const run = racePython({
  name: 'BentoML',
  script: 'bentoml_encoder.py',
  path: '/embed',
  body: (text) => ({ texts: [text] }),
})
