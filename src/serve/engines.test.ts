import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Egress } from '../base/egress.ts'
import { AthanorError } from '../base/errors.ts'
import { Registry, type Version } from '../registry/registry.ts'
import { openStore, type Store } from '../store/store.ts'
import { placesAt } from '../testing/backends.ts'
import { tinyClassifier } from '../testing/tiny.ts'
import { Engines, type Serving } from './engines.ts'
import { Memory } from './memory.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-engines-'))
let store: Store
let registry: Registry
let versions: Version[]

before(async () => {
  store = await openStore(home, await placesAt(home))
  registry = new Registry(store)
  const { manifest, files } = await tinyClassifier()
  versions = []
  for (const name of ['a', 'b', 'c']) versions.push(await registry.register(name, manifest, files))
})
after(async () => {
  await store.close()
  rmSync(home, { recursive: true, force: true })
})

const outside = { egress: new Egress([]), secrets: { unseal: () => '' }, engines: '' }

const use = async (engines: Engines, version: Version) => (await engines.lease(version)).release()
const inMemory = (engines: Engines) =>
  versions.filter(({ name, version }) => engines.has(name, version)).map((v) => v.name)

test('memory is made by ending what was used longest ago; pinned and busy versions stay', async () => {
  const [a, b, c] = versions
  const memory = new Memory(Number.POSITIVE_INFINITY)
  const servings: Record<string, Serving> = {}
  const engines = new Engines(registry, { keepAlive: 0, memory, outside })
  engines.servingOf = (model) => servings[model] ?? {}
  await use(engines, a)
  await use(engines, b)
  const sizes = (await engines.list()).map(({ stats }) => stats!.rss)
  assert.ok(sizes.every((bytes) => bytes > 20e6))
  memory.budget = 2.5 * Math.max(...sizes) // room for two
  await use(engines, a)
  await use(engines, c)
  assert.deepEqual(inMemory(engines), ['a', 'c'])
  servings.a = { pinned: true }
  await use(engines, b)
  assert.deepEqual(inMemory(engines), ['a', 'b'])
  const { release } = await engines.lease(b)
  await assert.rejects(use(engines, c), (error) => error instanceof AthanorError && error.code === 'MEMORY_FULL')
  assert.deepEqual(inMemory(engines), ['a', 'b'])
  release()
  await use(engines, c)
  assert.deepEqual(inMemory(engines), ['a', 'c'])
  await engines.close()
})

test('a version that is idle for long is ended, and comes back when it is asked', async () => {
  const [a, b] = versions
  const engines = new Engines(registry, { keepAlive: 50, memory: new Memory(Number.POSITIVE_INFINITY), outside })
  engines.servingOf = (model): Serving => (model === 'b' ? { keepAlive: 0 } : {})
  await engines.load(a)
  await use(engines, b)
  while (engines.has('a', 1)) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(inMemory(engines), ['b'])
  await use(engines, a)
  assert.ok(engines.has('a', 1))
  await engines.close()
})
