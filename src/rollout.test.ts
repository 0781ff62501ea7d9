import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Athanor, type Ranked } from '../client/src/index.ts'
import { AthanorError } from './base/errors.ts'
import { startTestServer, type TestServer } from './testing/server.ts'
import { tinyClassifier } from './testing/tiny.ts'

let server: TestServer
let client: Athanor

const register = async (name: string, options: Parameters<typeof tinyClassifier>[0] = {}) => {
  const { manifest, files } = await tinyClassifier(options)
  return server.app.house.registry.register(name, manifest, files)
}

before(async () => {
  server = await startTestServer()
  client = new Athanor({ url: server.url, retries: 0 })
  for (const name of ['equal', 'worse', 'plain']) {
    await register(name)
    await register(name, name === 'worse' ? { hidden: 12, width: 6 } : {})
  }
  await register('plain', { labels: ['x', 'y'] })
  await register('solo')
})
after(() => server.close())

const words = ['今天', 'fox', 'brown dog', '公园散步', 'q', 'the lazy', 'over 今', 'jump']
const engineOf = async (model: string) => (await client.engines()).find((engine) => engine.model === model)!
const codeOf = (wanted: string) => (error: unknown) => error instanceof AthanorError && error.code === wanted

/** Asks `count` times, eight at once, until `done`; how often each version answered. */
async function askMany(model: string, count: number, done: () => Promise<boolean> = async () => false) {
  const versions: Record<number, number> = {}
  for (let asked = 0; asked < count && !(await done()); asked += 8) {
    const answers = await Promise.all(words.map((text) => client.predictDetailed(model, [text])))
    for (const { version } of answers) versions[version] = (versions[version] ?? 0) + 1
  }
  return versions
}

test('a deployment holds its version; weights and keys share requests out', async () => {
  await client.deployments.deploy('plain', { version: 1, by: 'mia' })
  assert.deepEqual(await askMany('plain', 8), { 1: 8 })
  await client.deployments.deploy('plain', { weights: { 1: 50, 2: 50 } })
  const split = await askMany('plain', 64)
  assert.ok(split[1] > 8 && split[2] > 8, JSON.stringify(split))
  const withKey = async (key: string) => {
    const response = await fetch(`${server.url}/api/models/plain/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'athanor-key': key },
      body: JSON.stringify({ inputs: 'fox' }),
    })
    return ((await response.json()) as { version: number }).version
  }
  for (const key of ['ann', 'ben', 'cas', 'dee']) {
    const first = await withKey(key)
    for (let n = 0; n < 4; n++) assert.equal(await withKey(key), first)
  }
})

test('versions of a deployment must be alike, and what is deployed cannot be deleted', async () => {
  await assert.rejects(client.deployments.deploy('plain', { canary: 3 }), /differ in labels/)
  await assert.rejects(client.models.delete('plain@2'), /part of a deployment/)
  await assert.rejects(client.deployments.deploy('plain', { version: 1, canary: 2 }), /give one of/)
  await assert.rejects(client.deployments.rollback('worse'), /has no deployment/)
})

test('a roll-back is at once, and every change stands in the trail', async () => {
  await client.deployments.deploy('plain', { version: 2 })
  assert.deepEqual(await askMany('plain', 8), { 2: 8 })
  await client.deployments.rollback('plain', { by: 'mia' })
  assert.deepEqual(await askMany('plain', 8), { 1: 8 })
  const changes = await client.deployments.changes('plain')
  assert.deepEqual(
    changes.map(({ what, who }) => `${what} by ${who}`),
    ['rollback by mia', 'deploy by local', 'weights by local', 'deploy by mia'],
  )
  await client.deployments.remove('plain')
  assert.equal((await client.predictDetailed('plain', ['fox'])).version, 3)
})

const hasOne = (model: string) => async () => (await client.deployments.show(model)).plan.targets.length === 1
const lenient = { minimum: 20, errors: 0.3, slow: 0.5 }

test('an equal canary is promoted by itself', async () => {
  await client.deployments.deploy('equal', { version: 1 })
  await client.deployments.deploy('equal', { canary: 2, weight: 50, policy: { ...lenient, disagreement: 0.3 } })
  await askMany('equal', 4000, hasOne('equal'))
  const { plan } = await client.deployments.show('equal')
  assert.deepEqual(plan, { targets: [{ version: 2, weight: 100 }], previous: 1 })
  const [{ who, what }] = await client.deployments.changes('equal')
  assert.deepEqual([who, what], ['athanor', 'promote'])
})

test('a canary whose answers differ is rolled back by itself', async () => {
  await client.deployments.deploy('worse', { version: 1 })
  await client.deployments.deploy('worse', { canary: 2, weight: 50, policy: { ...lenient, disagreement: 0.02 } })
  await askMany('worse', 4000, hasOne('worse'))
  const [{ who, what, detail }] = await client.deployments.changes('worse')
  assert.deepEqual([who, what], ['athanor', 'rollback'])
  assert.match(detail, /to 1: disagreement/)
})

test('a shadow is asked beside the answers, and where it differs is told', async () => {
  await client.deployments.deploy('worse', { shadow: 2 })
  assert.deepEqual(await askMany('worse', 32), { 1: 32 })
  const reports = async () => (await client.deployments.show('worse')).shadows.find(({ shadow }) => shadow === 2)!
  while (((await reports())?.rows ?? 0) + ((await reports())?.dropped ?? 0) < 32) await askMany('worse', 8)
  const { rows, disagreed, failed, pairs } = await reports()
  assert.ok(rows > 0 && disagreed > 0 && disagreed <= rows && failed === 0)
  assert.ok(pairs.length > 0)
})

test('what its caller gave up is not run; deadlines come by header and body', async () => {
  await client.models.load('solo')
  const { pid, batches } = await engineOf('solo')
  process.kill(pid!, 'SIGSTOP')
  const { deployments } = server.app.house
  const leave = new AbortController()
  const left = deployments.predict('solo', ['fox'], { signal: leave.signal })
  const late = deployments.predict('solo', ['dog'], { deadline: 50 })
  const kept = deployments.predict('solo', ['q'])
  await assert.rejects(late, codeOf('DEADLINE_EXCEEDED'))
  leave.abort()
  await assert.rejects(left, codeOf('CANCELLED'))
  const byHeader = await fetch(`${server.url}/v2/models/solo/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'athanor-deadline': '40' },
    body: JSON.stringify({ inputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: ['fox'] }] }),
  })
  assert.equal(byHeader.status, 504)
  const byBody = await fetch(`${server.url}/api/models/solo/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ inputs: 'fox', parameters: { deadline: 40 } }),
  })
  assert.equal(byBody.status, 504)
  process.kill(pid!, 'SIGCONT')
  await kept
  assert.equal((await engineOf('solo')).batches, batches! + 1)
})

test('a request that could not be answered in time is refused at once, and says when to come again', async () => {
  const { pid } = await engineOf('solo')
  await askMany('solo', 16)
  process.kill(pid!, 'SIGSTOP')
  const { deployments } = server.app.house
  const waiting = Array.from({ length: 500 }, () => deployments.predict('solo', ['fox'], { deadline: 600_000 }))
  for (const one of waiting) one.catch(() => undefined)
  await new Promise((resolve) => setImmediate(resolve))
  const refused = await fetch(`${server.url}/api/models/solo/predict`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'athanor-deadline': '1' },
    body: JSON.stringify({ inputs: 'fox' }),
  })
  assert.equal(refused.status, 429)
  assert.match(await refused.text(), /DEADLINE_HOPELESS/)
  assert.ok(Number(refused.headers.get('retry-after')) >= 1)
  process.kill(pid!, 'SIGCONT')
  await Promise.all(waiting)
})

test('versions change under load: no request fails, and each answer is wholly of the version it names', async () => {
  const texts = words.slice(0, 4)
  const said = await Promise.all([1, 2].map(async (version) => client.predictAll(`worse@${version}`, texts)))
  const same = (answer: Ranked[][], version: number) =>
    answer.every((row, r) =>
      row.every(({ label, score }) => {
        const known = said[version - 1][r].find((one) => one.label === label)!
        return Math.abs(known.score - score) < 1e-5
      }),
    )
  const seen = new Set<number>()
  let on = true
  const asking = Array.from({ length: 6 }, async () => {
    while (on) {
      const { outputs, version } = await client.predictDetailed('worse', texts)
      assert.ok(same(outputs, version) && !same(outputs, 3 - version), `version ${version}`)
      seen.add(version)
    }
  })
  for (let swap = 0; swap < 6; swap++) {
    const [next, before] = swap % 2 === 0 ? [2, 1] : [1, 2]
    await client.deployments.deploy('worse', { version: next })
    await client.models.unload(`worse@${before}`) // so that each change starts an engine
  }
  on = false
  await Promise.all(asking)
  assert.deepEqual([...seen].sort(), [1, 2])
})

test('engines are replaced under load without a failed request', async () => {
  let answered = 0
  let on = true
  const asking = Array.from({ length: 8 }, async () => {
    for (; on; answered++) await client.predict('solo', 'fox')
  })
  const { pid } = await engineOf('solo')
  await client.deployments.setServing('solo', { replicas: 2, threads: 1 })
  const engines = (await client.engines()).filter(({ model }) => model === 'solo')
  on = false
  await Promise.all(asking)
  assert.ok(answered > 0)
  assert.equal(engines.length, 2)
  assert.ok(engines.every((engine) => engine.pid !== pid))
})
