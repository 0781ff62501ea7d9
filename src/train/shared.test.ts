// Two servers on one PostgreSQL and one object store: npm run test:stores.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Athanor } from '../../client/src/index.ts'
import { startApp } from '../app.ts'
import { backends, removeBackends } from '../testing/backends.ts'
import { tinyClassifier } from '../testing/tiny.ts'

const [, shared] = backends
const root = mkdtempSync(join(tmpdir(), 'athanor-shared-'))
after(async () => {
  rmSync(root, { recursive: true, force: true })
  await removeBackends()
})

/** A server in a process of its own, on a data folder of its own. */
async function startProcess(home: string, places: object) {
  const script = join(root, 'server.ts')
  const app = JSON.stringify(new URL('../app.ts', import.meta.url).href)
  writeFileSync(
    script,
    `import { startApp } from ${app}
     const app = await startApp({ ...JSON.parse(process.argv[2]), port: 0, logLevel: 'silent' })
     console.log(app.url)`,
  )
  const child = spawn(process.execPath, [script, JSON.stringify({ home, ...places })], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const url = await new Promise<string>((resolve) => child.stdout.once('data', (line) => resolve(String(line).trim())))
  return { child, client: new Athanor({ url }) }
}

const rows = Array.from({ length: 60 }, (_, i) => `${i % 2 ? 'good fine lovely' : 'bad poor awful'} film ${i},${i % 2}`)
const small = { epochs: 40, patience: 40, hidden: 8, width: 8, batchSize: 8, threads: 1 }

test('a run whose server is killed goes on elsewhere, ends once, and with the same weights', {
  skip: shared.skip,
}, async (t) => {
  const { places } = await shared.fresh()
  const first = await startProcess(join(root, 'first'), places)
  const app = await startApp({ home: join(root, 'second'), ...places, port: 0, logLevel: 'silent' })
  t.after(() => app.close())
  t.after(() => first.child.kill('SIGKILL'))
  const second = new Athanor({ url: app.url })
  const { id } = await first.client.datasets.upload('films.csv', Buffer.from(`text,label\n${rows.join('\n')}\n`))
  const spec = { dataset: id, family: 'lstm', seed: 5, options: small }
  const { run } = await first.client.runs.create({ ...spec, name: 'killed' })
  let epochs = 0
  for await (const event of first.client.runs.events(run)) if (event.type === 'epoch' && ++epochs === 12) break
  first.child.kill('SIGKILL')
  const told: string[] = []
  for await (const event of second.runs.events(run)) if (event.type === 'state') told.push(event.state)
  assert.equal(told.at(-1), 'done')
  const done = await second.runs.get(run)
  assert.deepEqual([done.state, done.version], ['done', 1])
  assert.equal((await second.models.show('killed')).versions.length, 1, 'registered once')

  const whole = await second.runs.create({ ...spec, name: 'whole' })
  for await (const event of second.runs.events(whole.run)) assert.notEqual(event.type, 'failed')
  const [a, b] = await Promise.all(['whole', 'killed'].map((name) => second.models.file(name, 'model.onnx')))
  assert.ok(Buffer.from(a).equals(Buffer.from(b)), 'bit for bit')
})

test('runs of two servers are shared out, none is done twice, and either can end them', {
  skip: shared.skip,
}, async (t) => {
  const { places } = await shared.fresh()
  const apps = [
    await startApp({ home: join(root, 'left'), ...places, port: 0, logLevel: 'silent' }),
    await startApp({ home: join(root, 'right'), ...places, port: 0, logLevel: 'silent' }),
  ]
  t.after(() => Promise.all(apps.map((app) => app.close())))
  const [left, right] = apps.map(({ url }) => new Athanor({ url }))
  const { id } = await left.datasets.upload('films.csv', Buffer.from(`text,label\n${rows.join('\n')}\n`))
  const spec = { dataset: id, family: 'bow', name: 'many', options: { epochs: 1, threads: 1 } }
  const runs = await Promise.all(Array.from({ length: 6 }, (_, i) => (i % 2 ? left : right).runs.create(spec)))
  assert.equal(new Set(runs.map(({ run }) => run)).size, 6)
  const ended = await Promise.all(
    runs.map(async ({ run }) => {
      for await (const _ of left.runs.events(run)) void _
      return right.runs.get(run)
    }),
  )
  assert.deepEqual(
    ended.map(({ state }) => state),
    Array(6).fill('done'),
  )
  const { versions } = await right.models.show('many')
  assert.deepEqual(versions.map(({ version }) => version).sort(), [1, 2, 3, 4, 5, 6], 'a version each')

  const options = { ...small, epochs: 5000, patience: 5000 }
  const long = await left.runs.create({ dataset: id, family: 'lstm', name: 'long', options })
  for await (const event of left.runs.events(long.run)) if (event.type === 'epoch') break
  await right.runs.cancel(long.run)
  for await (const _ of right.runs.events(long.run)) void _
  assert.equal((await right.runs.get(long.run)).state, 'cancelled')
})

test('a deployment that is changed at one server is followed by the other', {
  skip: shared.skip,
  timeout: 120_000,
}, async (t) => {
  const { places } = await shared.fresh()
  const apps = await Promise.all(
    ['one', 'other'].map((name) => startApp({ home: join(root, name), ...places, port: 0, logLevel: 'silent' })),
  )
  t.after(() => Promise.all(apps.map((app) => app.close())))
  const [one, other] = apps.map(({ url }) => new Athanor({ url }))
  const { manifest, files } = await tinyClassifier()
  for (let version = 1; version <= 2; version++) await apps[0].house.registry.register('tiny', manifest, files)
  const answers = async (version: number) => {
    while ((await other.predictDetailed('tiny', ['fox'])).version !== version)
      await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await answers(2)
  await one.deployments.deploy('tiny', { version: 1 })
  await answers(1)
  await one.deployments.remove('tiny')
  await answers(2)
})
