import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { RunSpec } from '../src/train/events.ts'
import { train } from '../src/train/train.ts'
import type { Result } from './main.ts'

export const description =
  'accuracy on real data, mean ± deviation over seeds (ACCURACY_DATA names the folder, ACCURACY_ONLY a pattern, ACCURACY_SEEDS how many)'

const data = process.env.ACCURACY_DATA ?? '../shared/data'
const seeds = Number(process.env.ACCURACY_SEEDS ?? 3)
const only = new RegExp(process.env.ACCURACY_ONLY ?? '')

const chnsenticorp = { train: 'chnsenticorp/train.tsv', heldOut: 'chnsenticorp/dev.tsv' }
const shopping = { train: 'shopping/online_shopping_10_cats.zip' }
const ngrams = { tokenizer: 'character', ngrams: 3, epochs: 5, width: 8, learningRate: 0.003 }

/** What is trained, and which figure of the held-out split counts; weights are chosen on a part of the training rows. */
const cases: Record<
  string,
  { files: { train: string; heldOut?: string }; spec: Omit<RunSpec, 'dataset'>; metric: string }
> = {
  'chnsenticorp, lstm': { files: chnsenticorp, spec: { family: 'lstm', options: { epochs: 5 } }, metric: 'accuracy' },
  'chnsenticorp, lstm, overlap kept': {
    files: chnsenticorp,
    spec: { family: 'lstm', keepLeakage: true, options: { epochs: 5 } },
    metric: 'accuracy',
  },
  'chnsenticorp, bow': {
    files: chnsenticorp,
    spec: { family: 'bow', options: { ...ngrams, maxLength: 400, buckets: 524_288 } },
    metric: 'accuracy',
  },
  'chnsenticorp, bow, overlap kept': {
    files: chnsenticorp,
    spec: { family: 'bow', keepLeakage: true, options: { ...ngrams, maxLength: 400, buckets: 524_288 } },
    metric: 'accuracy',
  },
  'chnsenticorp, auto 10m': { files: chnsenticorp, spec: { model: 'auto', budget: 600 }, metric: 'accuracy' },
  'chnsenticorp, auto 10m, overlap kept': {
    files: chnsenticorp,
    spec: { model: 'auto', budget: 600, keepLeakage: true },
    metric: 'accuracy',
  },
  'shopping, category, bow': {
    files: shopping,
    spec: {
      family: 'bow',
      read: { label: 'cat' },
      options: { ...ngrams, maxLength: 256, buckets: 1_048_576, width: 16, epochs: 4, chooseBy: 'macroF1' },
    },
    metric: 'macroF1',
  },
  'shopping, sentiment, bow': {
    files: shopping,
    spec: {
      family: 'bow',
      read: { label: 'label' },
      options: { ...ngrams, maxLength: 256, buckets: 1_048_576, epochs: 4 },
    },
    metric: 'accuracy',
  },
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const results: Result[] = []
  for (const [name, { files, spec, metric }] of Object.entries(cases)) {
    if (!only.test(name)) continue
    if (!existsSync(join(data, files.train))) {
      log(`${name}: no ${files.train} in ${data}, left out`)
      continue
    }
    const found: number[] = []
    for (let seed = 1; seed <= seeds; seed++) {
      const { metrics, seconds } = await once({ ...spec, dataset: '', seed }, files)
      found.push(metrics[metric])
      log(
        `${name}, seed ${seed}: ${metric} ${metrics[metric].toFixed(4)} on ${metrics.rows} rows, ${seconds.toFixed(0)} s`,
      )
    }
    const mean = found.reduce((a, b) => a + b, 0) / found.length
    const squares = found.reduce((sum, value) => sum + (value - mean) ** 2, 0)
    results.push({ measure: `${name}: ${metric}`, value: mean, unit: '' })
    if (found.length > 1)
      results.push({ measure: `${name}: deviation`, value: Math.sqrt(squares / (found.length - 1)), unit: '' })
  }
  return results
}

async function once(spec: RunSpec, files: { train: string; heldOut?: string }) {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-accuracy-'))
  const source = (file: string) => ({ path: join(data, file), name: basename(file) })
  const validation = files.heldOut === undefined ? {} : { validation: source(files.heldOut) }
  try {
    const job = { run: 'accuracy', spec, dataset: source(files.train), ...validation, folder }
    const events = train(job, new AbortController().signal)
    let next = await events.next()
    while (!next.done) next = await events.next()
    return next.value!
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
