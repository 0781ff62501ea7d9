import type { PipelineConfig } from '../data/pipeline.ts'
import type { WrittenModel } from './formats.ts'
import type { Files } from './source.ts'

/** What runs an export in each ecosystem: how it is installed, opened and asked. `{{tokens}}` cuts a text into ids. */
interface Runtime {
  readonly python?: { install: string; load: string; run: string }
  readonly node?: { install: string; load: string; run: string }
  readonly browser?: { install: string; load: string; run: string }
}

const ortRun = `const ids = new ort.Tensor('int64', BigInt64Array.from(row, BigInt), [1, row.length])
  const lengths = new ort.Tensor('int64', [BigInt(row.length)], [1])
  const { probabilities } = await session.run({ ids, lengths })
  const scores = [...probabilities.data]`
const tfjsRun = `const scores = [...model.predict(tf.tensor2d([[...row]], [1, row.length], 'int32')).dataSync()]`
const tfjsImports = `import '@tensorflow/tfjs-backend-cpu'
import * as tf from '@tensorflow/tfjs-core'
import { loadLayersModel } from '@tensorflow/tfjs-layers'`
const keras = (file: string) => ({
  install: 'keras tensorflow-cpu numpy',
  load: `import keras\nmodel = keras.models.load_model(folder / '${file}', compile=False)`,
  run: `scores = model.predict(np.array([row], 'int32'), verbose=0)[0]`,
})

const runtimes: Record<string, Runtime> = {
  onnx: {
    python: {
      install: 'onnxruntime numpy',
      load: `import onnxruntime\nsession = onnxruntime.InferenceSession(folder / 'model.onnx')`,
      run: `feeds = {'ids': np.array([row], 'int64'), 'lengths': np.array([len(row)], 'int64')}\n    scores = session.run(['probabilities'], feeds)[0][0]`,
    },
    node: {
      install: 'onnxruntime-node',
      load: `import ort from 'onnxruntime-node'\nconst session = await ort.InferenceSession.create(fileURLToPath(new URL('model.onnx', import.meta.url)))`,
      run: ortRun,
    },
    browser: {
      install: 'onnxruntime-web',
      load: `import * as ort from 'onnxruntime-web'`,
      run: `session ??= await ort.InferenceSession.create(await bytes('model.onnx'))\n  ${ortRun}`,
    },
  },
  keras: { python: keras('model.keras') },
  'keras-h5': { python: keras('model.h5') },
  savedmodel: {
    python: {
      install: 'tensorflow-cpu numpy',
      load: `import tensorflow as tf\nserve = tf.saved_model.load(str(folder)).signatures['serving_default']`,
      run: `ids, lengths = tf.constant([row], tf.int64), tf.constant([len(row)], tf.int64)\n    scores = serve(ids=ids, lengths=lengths)['probabilities'].numpy()[0]`,
    },
  },
  tflite: {
    python: {
      install: 'tensorflow-cpu numpy',
      load: `import tensorflow as tf\nmodel = tf.lite.Interpreter(str(folder / 'model.tflite'))\nserve = model.get_signature_runner('serving_default')\nwhole = model.get_input_details()[0]['dtype']`,
      run: `scores = serve(ids=np.array([row], whole), lengths=np.array([len(row)], whole))['probabilities'][0]`,
    },
  },
  'tfjs-graph': {
    browser: {
      install: '@tensorflow/tfjs-core @tensorflow/tfjs-converter @tensorflow/tfjs-backend-cpu',
      load: `import '@tensorflow/tfjs-backend-cpu'
import { loadGraphModel } from '@tensorflow/tfjs-converter'
import * as tf from '@tensorflow/tfjs-core'`,
      run: `model ??= await loadGraphModel(new URL('model.json', base).href)
  const feeds = { ids: tf.tensor2d([[...row]], [1, row.length], 'int32'), lengths: tf.tensor1d([row.length], 'int32') }
  const scores = [...(await model.executeAsync(feeds, 'probabilities_out')).dataSync()]`,
    },
  },
  'tfjs-layers': {
    browser: {
      install: '@tensorflow/tfjs-core @tensorflow/tfjs-layers @tensorflow/tfjs-backend-cpu',
      load: tfjsImports,
      run: `model ??= await loadLayersModel(new URL('model.json', base).href)\n  ${tfjsRun}`,
    },
  },
}

type Kind = PipelineConfig['tokenizer']

/** How ids come from a normalised text; undefined where the ecosystem lacks what it takes. */
const inJavaScript: Partial<Record<Kind, string>> = {
  character: `Array.from(text, (token) => vocab[token] ?? 1)`,
  word: `[...new Intl.Segmenter('zh', { granularity: 'word' }).segment(text)]
    .map(({ segment }) => segment).filter((token) => token.trim() !== '').map((token) => vocab[token] ?? 1)`,
}
const inPython: Partial<Record<Kind, [load: string, cut: string]>> = {
  character: [
    `vocab = json.loads((folder / 'tokenizer.json').read_text('utf-8'))['model']['vocab']`,
    `[vocab.get(token, 1) for token in text]`,
  ],
  // words are those between blanks: Python has no ICU dictionaries of its own
  word: [
    `from tokenizers import Tokenizer\ntokenizer = Tokenizer.from_file(str(folder / 'tokenizer.json'))`,
    `tokenizer.encode(text).ids`,
  ],
  bpe: [
    `from tokenizers import Tokenizer\ntokenizer = Tokenizer.from_file(str(folder / 'tokenizer.json'))`,
    `tokenizer.encode(text).ids`,
  ],
}

/**
 * What goes with the export of a text classifier: its pipeline and labels as data, and a short program for each
 * ecosystem that cuts a text, asks the model and prints the labels. Nothing for models that take tensors.
 */
export function usageFiles({ manifest, tokenizer }: WrittenModel, format: string): Files {
  if (manifest.task !== 'text-classification' || tokenizer === undefined) return {}
  const config = manifest.pipeline as unknown as PipelineConfig
  const utf8 = (text: string) => new TextEncoder().encode(text)
  const files: Files = {
    'tokenizer.json': utf8(tokenizer),
    'pipeline.json': utf8(JSON.stringify({ labels: manifest.labels, pipeline: config }, null, 2)),
  }
  const { python, node, browser } = runtimes[format] ?? {}
  const [cutPython, cutScript] = [inPython[config.tokenizer], inJavaScript[config.tokenizer]]
  if (python && cutPython) files['usage.py'] = utf8(pythonUsage(python, cutPython, config))
  if (node && cutScript) files['usage.ts'] = utf8(nodeUsage(node, cutScript, config))
  if (browser && cutScript) files['browser.js'] = utf8(browserUsage(browser, cutScript, config))
  return files
}

const javaScriptNormal = ({ normalise: { unicode, lowercase } }: PipelineConfig) => `
function normalise(text) {
  ${unicode === 'none' ? '' : `text = text.normalize('${unicode}')`}
  ${lowercase ? "text = Array.from(text, (character) => character.toLowerCase()).join('')" : ''}
  return text.replace(/[\\p{Cc}\\p{Cf}]/gu, (character) => (/\\s/.test(character) ? ' ' : '')).replace(/\\s+/gu, ' ').trim()
}`

const nodeUsage = (
  { install, load, run }: NonNullable<Runtime['node']>,
  cut: string,
  config: PipelineConfig,
) => `// npm install ${install}
// node usage.ts "a text"
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
${load}
const json = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'))
const { labels, pipeline } = json('pipeline.json')
const { vocab } = json('tokenizer.json').model
${javaScriptNormal(config).replace('(text)', '(text: string)').replace('(character) => (/', '(character: string) => (/')}

export async function classify(input: string) {
  const text = normalise(input)
  const row = ${cut}.slice(0, pipeline.maxLength)
  if (row.length === 0) row.push(1)
  ${run}
  return labels.map((label: string, i: number) => ({ label, score: scores[i] }))
}

for (const text of process.argv.slice(2)) console.log(JSON.stringify(await classify(text)))
`

const browserUsage = (
  { install, load, run }: NonNullable<Runtime['browser']>,
  cut: string,
  config: PipelineConfig,
) => `// npm install ${install}, and a bundler or an import map
// import { open } from './browser.js'; const classify = await open('/models/sentiment/'); await classify('a text')
${load}
${javaScriptNormal(config)}

export async function open(base) {
  const bytes = async (name) => new Uint8Array(await (await fetch(new URL(name, base))).arrayBuffer())
  const json = async (name) => (await fetch(new URL(name, base))).json()
  const { labels, pipeline } = await json('pipeline.json')
  const { vocab } = (await json('tokenizer.json')).model
  let session, model
  return async function classify(input) {
  const text = normalise(input)
  const row = ${cut}.slice(0, pipeline.maxLength)
  if (row.length === 0) row.push(1)
  ${run}
  return labels.map((label, i) => ({ label, score: scores[i] }))
  }
}
`

/** White space as JavaScript's regular expressions know it. */
const BLANKS = '[\\t\\n\\v\\f\\r \\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]'

const pythonUsage = (
  { install, load, run }: NonNullable<Runtime['python']>,
  [tokens, cut]: [string, string],
  { normalise: { unicode, lowercase } }: PipelineConfig,
) => `# pip install ${install}${tokens.includes('tokenizers') ? ' tokenizers' : ''}
# python usage.py "a text"
import json
import re
import sys
import unicodedata
from pathlib import Path
import numpy as np

folder = Path(__file__).parent
${load}
about = json.loads((folder / 'pipeline.json').read_text('utf-8'))
${tokens}


def normalise(text):
${unicode === 'none' ? '' : `    text = unicodedata.normalize('${unicode}', text)\n`}${lowercase ? "    text = ''.join(character.lower() for character in text)\n" : ''}    text = re.sub('${BLANKS}+', ' ', text)
    return ' '.join(''.join(c for c in text if unicodedata.category(c) not in ('Cc', 'Cf')).split(' ')).strip()


def classify(text):
    text = normalise(text)
    row = ${cut}[:about['pipeline']['maxLength']] or [1]
    ${run}
    return dict(zip(about['labels'], map(float, scores)))


if __name__ == '__main__':
    for text in sys.argv[1:]:
        print(json.dumps(classify(text), ensure_ascii=False))
`
