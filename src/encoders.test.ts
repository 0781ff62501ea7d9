import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { Athanor, AthanorError, type RunSpec } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { random } from './base/random.ts'
import { version as code } from './base/version.ts'
import { readBundle } from './bundle/bundle.ts'
import type { Manifest } from './bundle/manifest.ts'
import { WINDOW } from './drift/sketch.ts'
import { bundleEncoder } from './formats/huggingface/bundle.ts'
import { readFolder } from './formats/huggingface/folder.ts'
import { writeFolder } from './formats/huggingface/write.ts'
import { placesAt } from './testing/backends.ts'
import { plainManifest } from './testing/manifest.ts'
import { tinyEncoder } from './testing/tiny-encoder.ts'
import { train as learn } from './train/train.ts'

const colours = ['red', 'blue', 'green', 'black']
const animals = ['cat', 'dog', 'horse', 'mouse']
const people = ['Ada', 'Grace', 'Alan', 'Edsger']
const places = ['Paris', 'Oslo', 'Lima', 'Rome']
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const at = <T>(list: readonly T[], i: number) => list[i % list.length]
const corpus = Array.from(
  { length: 96 },
  (_, i) => `the ${at(colours, i)} ${at(animals, i)} sleeps near ${at(people, i * 3)} in ${at(places, i * 5)} .`,
)

const home = mkdtempSync(join(tmpdir(), 'athanor-encoders-'))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
  const { manifest, files } = bundleEncoder(tinyEncoder([...corpus, 'good bad film']))
  const whole: Manifest = { ...plainManifest, lineage: { code }, ...manifest }
  const stored = Object.entries(files).map(([name, content]) => [name, Buffer.from(content)])
  await app.house.registry.register('tiny', whole, Object.fromEntries(stored))
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

/** Trains and registers in this process: another one for each training would take most of the time. */
async function train(
  name: string,
  file: string,
  rows: string[],
  { from = 'tiny', ...spec }: Partial<RunSpec>,
): Promise<Record<string, number>> {
  const result = await learnt(file, `${rows.join('\n')}\n`, { from, ...spec })
  const { manifest, files } = await readBundle(result.bundle)
  assert.equal(manifest.lineage.parent, `${from}@1`)
  const contents = Object.entries(files).map(([file, path]) => [file, readFileSync(path)] as const)
  await app.house.registry.register(name, manifest, Object.fromEntries(contents))
  return result.metrics
}
async function learnt(file: string, content: string, { from: ref = 'tiny', ...spec }: Partial<RunSpec>) {
  const folder = mkdtempSync(join(home, 'run-'))
  const dataset = { path: join(folder, file), name: file }
  writeFileSync(dataset.path, content)
  const version = await app.house.registry.resolve(ref)
  const files = await app.house.registry.checkout(version)
  const from = { ref: `${ref}@1`, manifest: version.manifest, files }
  const job = { run: 'run', folder, dataset, from, spec: { dataset: file, from: from.ref, family: 'encoder', ...spec } }
  const events = learn(job, new AbortController().signal)
  for (;;) {
    const { value, done } = await events.next()
    if (done) return value!
  }
}
const ask = async (model: string, inputs: string | string[], parameters?: object) => {
  const response = await fetch(`${app.url}/api/models/${model}/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs, ...(parameters && { parameters }) }),
  })
  const body = (await response.json()) as { outputs: unknown; error?: { code: string; message: string } }
  return { status: response.status, ...body }
}
const quick = { epochs: 6, batchSize: 16, learningRate: 3e-3, threads: 1, dropout: 0 }

test('embeddings: a published encoder embeds, and learns from pairs and from scores', async () => {
  const [one, again] = (await ask('tiny', ['the red cat', 'the red cat'])).outputs as number[][]
  assert.equal(one.length, 32)
  assert.ok(Math.abs(Math.hypot(...one) - 1) < 1e-5)
  assert.deepEqual(one, again)
  const alone = ((await ask('tiny', 'the red cat')).outputs as number[][])[0]
  const beside = ((await ask('tiny', ['the red cat', corpus.join(' ')])).outputs as number[][])[0]
  alone.forEach((value, i) => {
    assert.ok(Math.abs(value - beside[i]) < 1e-5, 'padding changes nothing')
  })

  const pairs = corpus.slice(0, 64).map((text, i) =>
    JSON.stringify({
      anchor: `${at(colours, i)} ${at(animals, i >> 2)} ${at(people, i >> 4)}`,
      positive: `${at(people, i >> 4)} with the ${at(colours, i)} ${at(animals, i >> 2)}`,
      negative: text,
    }),
  )
  const metrics = await train('pairs', 'pairs.jsonl', pairs, { task: 'feature-extraction', options: quick })
  assert.ok(metrics.retrievalAccuracy > 0.5, JSON.stringify(metrics))
  const scored = corpus.slice(0, 80).map((_, i) => {
    const [a, b] = [at(colours, i), at(colours, i >> 2)]
    return `the ${a} ${at(animals, i)},a ${b} ${at(animals, i)},${a === b ? 5 : 1}`
  })
  const fitted = await train('scores', 'scores.csv', ['sentence1,sentence2,score', ...scored], {
    task: 'feature-extraction',
    options: { ...quick, epochs: 8 },
  })
  assert.ok(fitted.spearman > 0.5, JSON.stringify(fitted))
})

test('classification: low-rank changes, merged, and going on from them', async () => {
  const next = random(7)
  const words = [...new Set(corpus.join(' ').split(' '))]
  const rows = Array.from({ length: 120 }, (_, i) => {
    const some = Array.from({ length: 12 }, () => words[Math.floor(next() * words.length)]).join(' ')
    return `${some} ${i % 2 ? 'good' : 'bad'} film,${i % 2 ? 'yes' : 'no'}`
  })
  rows.unshift('text,label')
  const options = { ...quick, tuning: 'lora', learningRate: 1e-2, epochs: 12 }
  const metrics = await train('judge', 'films.csv', rows, { options })
  assert.ok(metrics.accuracy > 0.8, JSON.stringify(metrics))
  // what is served has learnt what was trained
  const asked = rows.slice(1, 41).map((row) => row.split(','))
  const answers = await client.predictAll(
    'judge',
    asked.map(([text]) => text),
  )
  const right = answers.filter(([best], i) => best.label === asked[i][1]).length
  assert.ok(right >= 34, `${right} of 40`)
  const { manifest, files } = await client.models.show('judge')
  assert.equal(manifest.family, 'bert')
  assert.ok(files.some(({ name }) => name === 'heldout.jsonl'))
  // what was trained can be trained on, and starts from what it knows
  const again = await train('judge-again', 'films.csv', rows, {
    from: 'judge',
    options: { ...quick, epochs: 1, learningRate: 1e-6 },
  })
  assert.ok(again.accuracy > 0.8, JSON.stringify(again))
})

test('words: stretches of a text are labelled, with their places', async () => {
  const conll = corpus.flatMap((_, i) => [
    `${at(people, i)} B-PER`,
    'of O',
    `${at(places, i * 3)} B-LOC`,
    `${at(places, i)} I-LOC`,
    'sleeps O',
    '. O',
    '',
  ])
  const metrics = await train('entities', 'people.conll', conll, {
    task: 'token-classification',
    options: { ...quick, epochs: 8 },
  })
  assert.ok(metrics.f1 > 0.9, JSON.stringify(metrics))
  const text = 'Ada of Oslo Rome sleeps.'
  const [found] = (await ask('entities', text)).outputs as {
    label: string
    score: number
    start: number
    end: number
    text: string
  }[][]
  const told = found
    .filter(({ label }) => label !== 'O')
    .map(({ label, start, end, text: part }) => ({ label, part, same: text.slice(start, end) === part }))
  assert.ok(
    told.some(({ label, part }) => label === 'PER' && part === 'Ada'),
    JSON.stringify(found),
  )
  assert.ok(told.every(({ same }) => same))
  const json = corpus
    .slice(0, 40)
    .map((_, i) => JSON.stringify({ tokens: [at(people, i), 'sleeps'], tags: ['PER', 'O'] }))
  const plain = await train('plain-tags', 'tags.jsonl', json, {
    task: 'token-classification',
    options: { ...quick, tuning: 'last', layers: 2 },
  })
  assert.ok(plain.accuracy > 0.9, JSON.stringify(plain))
})

test('masked words: pretraining goes on with plain text, and masks are filled', async () => {
  const metrics = await train('words', 'corpus.txt', corpus.concat(corpus), {
    task: 'fill-mask',
    options: { ...quick, epochs: 14, maxLength: 16, masked: 0.3, patience: 20 },
  })
  assert.ok(metrics.perplexity < 12, JSON.stringify(metrics))
  const { outputs } = await ask(
    'words',
    ['the red cat sleeps [MASK] Ada in Paris .', '[MASK] red cat [MASK] near Ada in Paris .'],
    { topK: 3 },
  )
  const fills = outputs as { token: string; score: number }[][][]
  assert.deepEqual(
    fills.map((masks) => masks.map((words) => words.length)),
    [[3], [3, 3]],
  )
  assert.equal(fills[0][0][0].token, 'near', JSON.stringify(fills[0][0]))
  assert.ok(fills[0][0][0].score > fills[0][0][1].score)
  const none = await ask('words', 'no mask here')
  assert.deepEqual([none.status, none.error?.code], [400, 'BAD_REQUEST'])
  assert.match(none.error!.message, /no \[MASK\]/)
})

test('requests that are labelled in parts or filled are compared with rows of their kind', async () => {
  const tagged = upTo(240).map((i) =>
    JSON.stringify({ tokens: ['the', at(people, i * 7), 'sleeps'], tags: ['O', 'PER', 'O'] }),
  )
  const masked = (text: string, which: number) => text.split(' ').with(which, '[MASK]').join(' ')
  const kinds = [
    ['plain-tags', 'rows.jsonl', tagged, (i: number) => `the ${at(people, i * 7)} sleeps`],
    ['words', 'rows.txt', upTo(240).map((i) => at(corpus, i)), (i: number) => masked(at(corpus, i), (i * 7) % 9)],
  ] as const
  for (const [model, file, rows, usual] of kinds) {
    const { id } = await client.datasets.upload(file, Buffer.from(rows.join('\n')))
    const { version, rows: known } = await client.models.compareWith(model, id)
    assert.equal(known, 240)
    const ask = (text: (i: number) => string) => client.ask(`${model}@${version}`, upTo(WINDOW).map(text))
    const judged = async (count: number) => {
      for (;;) {
        const report = await client.drift(`${model}@${version}`)
        if (report.windows.length === count) return report
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    }
    await ask(usual)
    assert.deepEqual((await judged(1)).drifted, [], model)
    await ask(
      (i) =>
        `${at(animals, i)} [MASK] ${at(colours, i)} in ${at(places, i)} near ${at(places, i)} near ${at(places, i)}`,
    )
    const features = (await judged(2)).drifted.map(({ feature }) => feature)
    assert.ok(features.includes('tokens'), `${model}: ${features}`)
  }
})

test('what does not fit is refused before anything is trained', async () => {
  const { id } = await client.datasets.upload('x.csv', Buffer.from('text,label\na,b\n'))
  const create = (spec: Partial<RunSpec>) => client.runs.create({ dataset: id, ...spec } as RunSpec)
  const refused = (promise: Promise<unknown>, code: string, part: string) =>
    assert.rejects(
      promise,
      (error) =>
        error instanceof AthanorError && error.code === code && `${error.message} ${error.hint}`.includes(part),
    )
  await refused(create({ family: 'encoder' }), 'OPTION_INVALID', 'starts from a published model')
  await refused(create({ family: 'lstm', from: 'tiny' }), 'OPTION_INVALID', 'not for the family lstm')
  await refused(create({ from: 'tiny', task: 'summarization' }), 'OPTION_INVALID', 'token-classification')
  await refused(create({ task: 'fill-mask' }), 'OPTION_INVALID', 'starts from a published model')
  await refused(create({ from: 'tiny', family: 'encoder', task: 'text-generation' }), 'OPTION_INVALID', 'is for')
  await refused(create({ from: 'tinny' }), 'MODEL_NOT_FOUND', 'Did you mean "tiny"')
  await refused(create({ from: 'tiny', options: { tuning: 'half' } }), 'OPTION_INVALID', 'full, last, lora')
  const targets = 'query, gate'
  await refused(create({ from: 'tiny', options: { tuning: 'lora', targets } }), 'OPTION_INVALID', 'down, got "gate"')
  const rows = `text,label\n${Array.from({ length: 20 }, (_, i) => `text ${i} of ${at(animals, i)},${i % 2}`).join('\n')}\n`
  const cases: [string, string, Partial<RunSpec>, string, RegExp][] = [
    // before the data is read, which would be refused as well
    ['a.csv', 'nothing\n', { options: { tuning: 'last', layers: 9 } }, 'OPTION_INVALID', /has 2 layers/],
    ['a.csv', rows, { options: { maxLength: 500 } }, 'OPTION_INVALID', /places for 64 tokens/],
    [
      'a.conll',
      'Ada B-PER\nOslo\n',
      { task: 'token-classification' },
      'DATA_MALFORMED',
      /line 2: a word without a tag/,
    ],
    [
      'a.jsonl',
      '{"tokens":["a"],"tags":["O","O"]}\n',
      { task: 'token-classification' },
      'DATA_MALFORMED',
      /1 words, 2 tags/,
    ],
    [
      'a.csv',
      'x,y,z\n1,2,3\n',
      { task: 'feature-extraction' },
      'DATA_MALFORMED',
      /expected columns anchor and positive/,
    ],
    ['a.txt', 'one line\n', { task: 'fill-mask' }, 'SPLIT_IMPOSSIBLE', /1 rows/],
  ]
  for (const [file, content, spec, code, message] of cases) {
    await assert.rejects(learnt(file, content, spec), (error) => {
      assert.ok(error instanceof Error && 'code' in error)
      assert.equal(error.code, code)
      assert.match(error.message, message)
      return true
    })
  }
})

test('a published folder goes in and out through API and CLI, and is trained on from', async () => {
  const folder = join(home, 'published')
  const encoder = tinyEncoder(corpus, { task: 'fill-mask' })
  for (const [name, content] of writeFolder(encoder)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  writeFileSync(join(folder, 'pytorch_model.bin'), Buffer.from([0x80, 2, 0x7d, 0x2e]))
  const cli = (...args: string[]) =>
    promisify(execFile)(process.execPath, [
      join(import.meta.dirname, 'cli/main.ts'),
      ...args,
      '--url',
      app.url,
      '--json',
    ])
  const { stdout } = await cli('import', folder, '--name', 'guesser')
  const { manifest, files } = JSON.parse(stdout) as { manifest: Manifest; files: { name: string }[] }
  assert.deepEqual([manifest.task, manifest.family], ['fill-mask', 'bert'])
  assert.ok(!files.some(({ name }) => name.endsWith('.bin')))
  const [[words]] = await client.fillMask('guesser', ['the [MASK] cat sleeps'], { topK: 4 })
  assert.equal(words.length, 4)
  const run = JSON.parse((await cli('run', 'guesser', 'the [MASK] cat sleeps')).stdout) as unknown[][]
  assert.deepEqual((run[0] as unknown[][])[0][0], words[0])

  const out = join(home, 'out')
  await cli('export', 'guesser', '--format', 'huggingface', '--out', out)
  const read = new Map(
    readdirSync(out, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(out, path), async () => readFileSync(path)]),
  )
  assert.deepEqual((await readFolder(read)).weights, encoder.weights)

  const film = join(home, 'film.csv')
  writeFileSync(film, ['text,label', ...corpus.slice(0, 60).map((text, i) => `${text} ${i},${i % 2}`)].join('\n'))
  const trained = JSON.parse(
    (await cli('train', film, '--from', out, '--set', 'epochs=1', '--set', 'threads=1')).stdout,
  )
  assert.equal((await client.models.show(trained.model)).manifest.lineage.parent, 'out@1')

  symlinkSync(film, join(folder, 'link.json'))
  const told = (part: RegExp) => (error: unknown) => part.test(String((error as { stdout?: string }).stdout))
  await assert.rejects(cli('import', folder), told(/is a link out of the folder/))
  rmSync(join(folder, 'link.json'))
  const pickle = {
    'config.json': readFileSync(join(folder, 'config.json')),
    'tokenizer.json': readFileSync(join(folder, 'tokenizer.json')),
    'pytorch_model.bin': readFileSync(join(folder, 'pytorch_model.bin')),
  }
  await assert.rejects(client.models.importFiles('never', pickle), /pickle/)
})
