import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Athanor, AthanorError, type Run, type RunSpec, type TrainEvent } from '../client/src/index.ts'
import { type App, startApp } from './app.ts'
import { placesAt } from './testing/backends.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-select-'))
let app: App
let client: Athanor
before(async () => {
  app = await startApp({ home, ...(await placesAt(home)), port: 0, logLevel: 'silent' })
  client = new Athanor({ url: app.url, retries: 0 })
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

const nouns = 'film book song play game show tale poem talk tour'.split(' ')
const good = ['lovely', 'great', 'superb', 'charming']
const bad = ['awful', 'poor', 'dreadful', 'dull']
/** Sentences that say good or bad of a thing, each but once. */
const sentence = (i: number) =>
  `a ${(i % 2 ? good : bad)[(i >> 1) % 4]} ${nouns[(i >> 3) % 10]} number ${(i * 7919) % 9973} of ${(i * 31) % 97}`
const upload = async (rows: string[], head = 'text,label') =>
  (await client.datasets.upload('x.csv', Buffer.from(`${head}\n${rows.join('\n')}\n`))).id
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const films = (count: number) => upload(upTo(count).map((i) => `${sentence(i)},${i % 2 ? 'good' : 'bad'}`))
const tiny = { width: 16, epochs: 6, learningRate: 0.03, batchSize: 16, minimumCount: 1, threads: 1 }

async function follow(run: Run): Promise<{ run: Run; events: TrainEvent[] }> {
  const events: TrainEvent[] = []
  for await (const event of client.runs.events(run.run)) events.push(event)
  return { run: await client.runs.get(run.run), events }
}
async function finish(spec: RunSpec) {
  const ended = await follow(await client.runs.create(spec))
  assert.equal(ended.run.state, 'done', JSON.stringify(ended.run.error))
  return ended
}
const code =
  (expected: string, part = '') =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === expected && `${error.message} ${error.hint}`.includes(part)

/** The training process of the run that is going on. */
function trainer(): number {
  const children = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], { encoding: 'utf8' })
  return Number(/^\s*(\d+) .*train\/worker/m.exec(children)?.[1])
}

for (const family of ['bow', 'textcnn', 'lstm']) {
  test(`${family}: several labels a text, from upload to answer`, async () => {
    const of = (i: number) => [i % 2 ? 'good' : 'bad', ...((i >> 3) % 10 === 0 ? ['film'] : [])].join(';')
    const dataset = await upload(upTo(320).map((i) => `${sentence(i)},${of(i)}`))
    const options = { ...tiny, ...(family === 'lstm' && { hidden: 16 }), ...(family === 'bow' && { buckets: 1000 }) }
    const { run } = await finish({ name: `several-${family}`, dataset, family, read: { separator: ';' }, options })
    const { microF1, macroF1, subsetAccuracy } = run.metrics!
    assert.ok(microF1 > 0.8 && macroF1 > 0.5 && subsetAccuracy > 0.5, JSON.stringify(run.metrics))
    const { manifest } = await client.models.show(`several-${family}`)
    assert.deepEqual([manifest.problem, manifest.labels], ['multi-label', ['bad', 'film', 'good']])
    assert.equal(manifest.thresholds?.length, 3)
    const ranked = await client.predict(`several-${family}`, 'a superb song number 5 of 7')
    assert.equal(ranked[0].label, 'good')
    assert.ok(ranked[0].chosen && ranked.find(({ label }) => label === 'bad')?.chosen === false)
    const evaluated = await client.evaluate(`several-${family}`, dataset)
    assert.ok(evaluated.metrics.microF1 > 0.8 && evaluated.perLabel.length === 3)
  })
}

for (const family of ['bow', 'transformer']) {
  test(`${family}: a number for a text, from upload to answer`, async () => {
    const of = (i: number) => 10 * (i % 2) + ((i >> 3) % 10) / 10
    const dataset = await upload(
      upTo(320).map((i) => `${sentence(i)},${of(i)}`),
      'text,stars',
    )
    const more: NonNullable<RunSpec['options']> =
      family === 'bow' ? { buckets: 1000 } : { layers: 1, heads: 2, inner: 32, learningRate: 0.01 }
    const options = { ...tiny, ...more, epochs: 10 }
    const name = `number-${family}`
    const { run } = await finish({ name, dataset, family, problem: 'regression', options })
    const { mae, rmse, r2, spearman } = run.metrics!
    assert.ok(mae < 3 && rmse < 4 && r2 > 0.5 && spearman > 0.5, JSON.stringify(run.metrics))
    const { manifest } = await client.models.show(name)
    assert.deepEqual([manifest.problem, manifest.labels], ['regression', ['stars']])
    assert.equal(manifest.signature.outputs.at(-1)?.name, 'values')
    const [high] = await client.predict(name, 'a superb song number 5 of 7')
    const [low] = await client.predict(name, 'a dreadful song number 5 of 7')
    assert.equal(high.label, 'stars')
    assert.ok(high.score > low.score + 4, `${high.score} and ${low.score}`)
    const { metrics } = await client.evaluate(name, dataset)
    assert.ok(metrics.r2 > 0.5)
    await assert.rejects(client.evaluate(name, await upload(['x y,many'])), code('DATA_MALFORMED', 'line 2'))
  })
}

test('advice says what is seen and what to try, in words and in order', async () => {
  const rows = upTo(600).map((i) => `${sentence(i)},${i % 20 ? 'good' : 'bad'}`)
  const advice = await client.advise(await upload([...rows, ...rows.slice(0, 5), ' ,bad']))
  assert.deepEqual(advice.rows, { read: 606, kept: 600 })
  assert.equal(advice.imbalance, 19)
  assert.deepEqual(advice.removed, { empty: 1, duplicate: 5 })
  assert.ok(advice.notes.some((note) => note.includes('uneven')))
  const families = advice.candidates.map(({ family }) => family)
  assert.equal(families[0], 'bow')
  assert.ok(families.includes('lstm') && !families.includes('transformer'), families.join())
  for (const { reasons, seconds, options } of advice.candidates) {
    assert.ok(reasons.every((reason) => reason.length > 20) && seconds > 0)
    assert.equal(options.chooseBy, 'macroF1')
  }
  const chinese = upTo(60).map((i) => `${i % 2 ? '這個酒店很好' : '这个饭店不错'}${i},${i % 3}`)
  const mixed = await client.advise(await upload(chinese))
  assert.ok(mixed.candidates.every(({ options }) => options.script === 'simplified'))
  await assert.rejects(client.advise('ds_none'), code('DATA_NOT_FOUND'))
  await assert.rejects(client.advise(await upload(['a,b'], 'x,y'), { read: { text: 'z' } }), code('COLUMN_UNKNOWN'))
})

test('a model is chosen, the table of trials stays with the version; a kill loses nothing', async () => {
  const dataset = await films(560)
  const created = await client.runs.create({
    name: 'chosen',
    dataset,
    budget: 600, // what the trials come to must not hang on how busy the machine is
    options: { ...tiny, width: 16 },
    model: 'auto',
  })
  let killed = false
  for await (const event of client.runs.events(created.run)) {
    if (event.type === 'trial' && event.trial.trial === 2 && event.trial.epochs > 0 && !killed) {
      killed = true
      process.kill(trainer(), 'SIGKILL')
    }
  }
  assert.equal((await client.runs.get(created.run)).error?.code, 'TRAINER_DIED')
  const { run, events } = await follow(await client.runs.resume(created.run))
  assert.equal(run.state, 'done', JSON.stringify(run.error))
  assert.ok(run.metrics!.accuracy > 0.9)
  const done = events.find((event) => event.type === 'done')!
  const table = events.find((event) => event.type === 'selection')!
  // minutes are told to hundredths
  const inTrials = table.trials.reduce((sum, { minutes }) => sum + 60 * (minutes - 0.005), 0)
  assert.ok(run.metrics!.trainingSeconds >= inTrials && done.seconds >= inTrials, 'the time of all trials')
  assert.equal(table.metric, 'accuracy')
  assert.equal(table.trials.filter(({ state }) => state === 'chosen').length, 1)
  const means = table.trials.filter(({ reason }) => /^the mean of what trials \d and \d answer/.test(reason ?? ''))
  assert.deepEqual(
    means.map(({ metrics }) => metrics!.accuracy > 0.9),
    [true],
    'once, also where it went on',
  )
  for (const { state, reason } of table.trials) if (state === 'dropped') assert.match(reason!, /^behind others after/)
  const chosen = table.trials.find(({ state }) => state === 'chosen')!
  assert.ok(chosen.parameters! > 0 && chosen.latency! > 0 && chosen.minutes > 0)
  for (const trial of table.trials)
    if (trial.metrics) assert.ok(trial.metrics.accuracy <= chosen.metrics!.accuracy, 'the best one was taken')
  const { manifest } = await client.models.show('chosen')
  assert.deepEqual(manifest.lineage.selection, JSON.parse(JSON.stringify(table.trials)))
  assert.equal(manifest.family, chosen.family)
  const card = Buffer.from(await client.models.file('chosen', 'data-card.md')).toString('utf8')
  assert.match(card, /# Data card: x.csv/)
})

test('a search tries options, gives up what lags, and goes on where it was killed', async () => {
  const dataset = await films(200)
  const search = { trials: 6 }
  const spec = {
    dataset,
    family: 'bow',
    seed: 3,
    budget: 3600, // a time that stops none of them
    search,
    options: { buckets: 500, epochs: 4, minimumCount: 1, threads: 1 },
  }
  const whole = await finish({ ...spec, name: 'whole' })
  const created = await client.runs.create({ ...spec, name: 'broken' })
  let killed = false
  for await (const event of client.runs.events(created.run)) {
    if (event.type === 'trial' && event.trial.trial === 3 && event.trial.state === 'running' && !killed) {
      killed = true
      process.kill(trainer(), 'SIGKILL')
    }
  }
  const broken = await follow(await client.runs.resume(created.run))
  assert.equal(broken.run.state, 'done', JSON.stringify(broken.run.error))
  const told = ({ events }: typeof whole) =>
    events
      .find((event) => event.type === 'selection')!
      .trials.map(({ options, metrics, state, epochs }) => ({ options, metrics, state, epochs }))
  assert.equal(told(whole).length, 6)
  assert.deepEqual(told(broken), told(whole), 'the same trials with the same figures')
  assert.equal(new Set(told(whole).map(({ options }) => options.learningRate)).size, 6, 'each tries something else')
  const [a, b] = await Promise.all(['whole', 'broken'].map((name) => client.models.file(name, 'model.onnx')))
  assert.ok(Buffer.from(a).equals(Buffer.from(b)), 'bit for bit')
})

test('folds: each row is held out once; mean and deviation are told', async () => {
  const spec = { name: 'folds', dataset: await films(150), family: 'bow', folds: 3, options: { ...tiny, buckets: 500 } }
  const { run, events } = await finish(spec)
  const { folds, accuracyMean, accuracyDeviation, accuracy } = run.metrics!
  assert.equal(folds, 3)
  assert.ok(accuracyMean > 0.8 && accuracyDeviation >= 0 && accuracy > 0.7, JSON.stringify(run.metrics))
  const reports = events.flatMap((event) =>
    event.type === 'data' ? [event.report as { splits: { test: number } }] : [],
  )
  assert.equal(reports.length, 4)
  assert.equal(
    reports.slice(0, 3).reduce((sum, { splits }) => sum + splits.test, 0),
    150,
  )
})

test('the latest rows are held out; what cannot be done is refused before anything is trained', async () => {
  const rows = upTo(100).map((i) => `${sentence(i)},${i % 2 ? 'good' : 'bad'},2024-${1 + (i % 12)}-${1 + (i % 28)}`)
  const dataset = await upload(rows, 'text,label,day')
  const read = { time: 'day' }
  const options = { ...tiny, buckets: 500 }
  const { events } = await finish({ name: 'late', dataset, family: 'bow', split: 'time', read, options })
  const report = events.find((event) => event.type === 'data')!.report as { splitBy: string }
  assert.equal(report.splitBy, 'time')
  const wrong: [RunSpec, string, string][] = [
    [{ dataset, family: 'bow', split: 'time', options }, 'SPLIT_IMPOSSIBLE', '--time'],
    [{ dataset, family: 'bow', options: { ...options, chooseBy: 'rmse' } }, 'OPTION_INVALID', 'chooseBy'],
    [{ dataset, family: 'bow', options: { ...options, classWeights: 'x=1' } }, 'OPTION_INVALID', 'classWeights'],
    [{ dataset, family: 'bow', options: { ...options, decayOf: '(' } }, 'OPTION_INVALID', 'decayOf'],
    [{ dataset, family: 'bow', problem: 'regression', options }, 'DATA_MALFORMED', 'not a number'],
  ]
  for (const [spec, expected, part] of wrong) {
    const { run } = await follow(await client.runs.create({ ...spec, name: 'wrong' }))
    assert.equal(run.error?.code, expected, JSON.stringify(run.error))
    assert.ok(`${run.error.message} ${run.error.hint}`.includes(part), JSON.stringify(run.error))
  }
  await assert.rejects(client.runs.create({ dataset, budget: 1 }), code('BAD_REQUEST', 'budget'))
})

test('a loss that is lost ends the run, names what is kept, and registers nothing', async () => {
  const options = {
    ...tiny,
    buckets: 500,
    epochs: 50,
    learningRate: 10,
    clipNorm: 0,
    optimizer: 'sgd',
    weightDecay: 1,
    patience: 50,
  }
  const dataset = await upload(upTo(200).map((i) => `${sentence(i)},${1e30 * (i % 2)}`))
  const { run } = await follow(
    await client.runs.create({
      name: 'lost',
      dataset,
      family: 'bow',
      problem: 'regression',
      options: { ...options, width: 64 },
    }),
  )
  assert.equal(run.error?.code, 'LOSS_NOT_FINITE', JSON.stringify(run.error ?? run.metrics))
  assert.match(run.error.hint, /checkpoint/)
  await assert.rejects(client.models.show('lost'), code('MODEL_NOT_FOUND'))
})
