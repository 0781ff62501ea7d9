import { racePython } from './lib/encoder-race.ts'

export const description =
  'vectors of texts against MLflow’s scoring server (ATHANOR_PYTHON has mlflow, onnxruntime, tokenizers; ATHANOR_MINILM)'

export const run = racePython({
  name: 'MLflow',
  script: 'mlflow_encoder.py',
  path: '/invocations',
  body: (text) => ({ inputs: [text] }),
})
