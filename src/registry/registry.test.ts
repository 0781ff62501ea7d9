import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import * as files from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { AthanorError } from '../base/errors.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Files } from '../store/blobs.ts'
import { openStore, placesOf, type Store } from '../store/store.ts'
import { backends, removeBackends } from '../testing/backends.ts'
import { tensorManifest } from '../testing/manifest.ts'
import { Registry } from './registry.ts'
import { collectRegularly } from './retention.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-registry-'))
after(async () => {
  rmSync(root, { recursive: true, force: true })
  await removeBackends()
})
let homes = 0
const newHome = () => join(root, `home${homes++}`)
const blobPath = ({ home }: Store, digest: string) => join(home, 'blobs', digest.slice(0, 2), digest.slice(2))

const manifest = (more: Partial<Manifest> = {}) => tensorManifest({ metrics: { accuracy: 0.5 }, ...more })
const code = (expected: string) => (error: unknown) => error instanceof AthanorError && error.code === expected

/** Every visible version has all of its files, each with its digest. */
async function checkInvariants(store: Store) {
  const rows = await store.db.selectFrom('version_files').selectAll().execute()
  for (const { digest } of rows) {
    assert.equal(
      createHash('sha256')
        .update(readFileSync(await store.blobs.verify(digest)))
        .digest('hex'),
      digest,
    )
  }
  const versions = await store.db.selectFrom('versions').selectAll().execute()
  for (const { model, version } of versions) {
    assert.ok(
      rows.some((row) => row.model === model && row.version === version),
      `${model}@${version} has no files`,
    )
  }
  return versions.length
}

for (const backend of backends) {
  const { name, skip } = backend
  test(`versions, aliases, search, deletion: ${name}`, { skip }, async () => {
    const { home, places } = await backend.fresh()
    const store = await openStore(home, places)
    const registry = new Registry(store)
    const all = await Promise.all(
      [1, 2, 3].map((n) => registry.register('reviews', manifest(), { 'model.onnx': Buffer.from(`v${n}`) })),
    )
    assert.deepEqual(all.map(({ version }) => version).sort(), [1, 2, 3])
    await registry.register('情感', manifest(), { 'model.onnx': Buffer.from('x') }).then(
      () => assert.fail('a name outside the pattern was accepted'),
      (error) => assert.ok(code('NAME_INVALID')(error)),
    )
    await registry.register('mood', manifest({ labels: ['好评', '差评'] }), { 'model.onnx': Buffer.from('m') })
    await registry.setAlias('reviews', 'champion', 2)
    assert.equal((await registry.resolve('reviews@champion')).version, 2)
    assert.equal((await registry.resolve('reviews')).version, 3)
    assert.deepEqual(
      (await registry.search({ search: '好评' })).models.map(({ name }) => name),
      ['mood'],
    )
    await assert.rejects(
      registry.resolve('revews'),
      (error: AthanorError) => code('MODEL_NOT_FOUND')(error) && error.hint.includes('"reviews"'),
    )
    await assert.rejects(registry.resolve('reviews@9'), code('VERSION_NOT_FOUND'))
    await assert.rejects(registry.setAlias('reviews', '7', 1), code('NAME_INVALID'))

    const { digest } = (await registry.resolve('reviews@3')).files[0]
    await registry.delete('reviews@3')
    await assert.rejects(registry.resolve('reviews@3'), code('VERSION_NOT_FOUND'))
    await registry.collectGarbage({ days: 1 })
    assert.deepEqual(await registry.restore('reviews@3'), [3])
    assert.equal((await registry.resolve('reviews')).version, 3)
    await registry.checkout(await registry.resolve('reviews@3'))
    await registry.delete('reviews@3')
    assert.deepEqual(
      (await registry.deleted()).map(({ model, version }) => `${model}@${version}`),
      ['reviews@3'],
    )
    assert.equal((await registry.collectGarbage({ days: 0 })).versions, 1)
    assert.ok(!existsSync(blobPath(store, digest)), 'the file of a purged version is gone')
    await assert.rejects(registry.restore('reviews@3'), code('VERSION_NOT_FOUND'))
    assert.equal((await registry.register('reviews', manifest(), { 'model.onnx': Buffer.from('again') })).version, 4)
    await registry.delete('reviews')
    await assert.rejects(registry.resolve('reviews'), code('MODEL_NOT_FOUND'))
    await store.close()
  })

  test(`a file whose bits changed is never handed out: ${name}`, { skip }, async () => {
    const { home, places } = await backend.fresh()
    const store = await openStore(home, places)
    const registry = new Registry(store)
    for (let i = 0; i < 20; i++) {
      const content = randomBytes(1000 + i)
      const version = await registry.register('bits', manifest(), { 'model.onnx': content })
      const path = blobPath(store, version.files[0].digest)
      content[(i * 53) % content.length] ^= 1 << (i % 8)
      // whether it was found whole before or not
      if (i % 2) await registry.checkout(version)
      writeFileSync(path, i % 4 === 1 ? content.subarray(0, 500) : content)
      await assert.rejects(registry.checkout(version), code('BLOB_CORRUPT'))
      assert.ok(!existsSync(path), 'set aside')
    }
    await store.close()
  })

  test(`a process killed while it registers leaves only whole versions: ${name}`, { skip }, async () => {
    const { home, places } = await backend.fresh()
    mkdirSync(home)
    const script = join(home, 'register.ts')
    const at = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
    writeFileSync(
      script,
      `import { openStore } from ${at('../store/store.ts')}
     import { Registry } from ${at('./registry.ts')}
     const registry = new Registry(await openStore(process.argv[2], ${JSON.stringify(places)}))
     for (let i = 0; ; i++) {
       await registry.register('killed', ${JSON.stringify(manifest())}, { 'model.onnx': Buffer.from(process.pid + ':' + i) })
       if (i === 0) console.log('one is registered')
     }`,
    )
    let seen = 0
    for (let i = 0; i < 8; i++) {
      const child = spawn(process.execPath, [script, home], { stdio: ['ignore', 'pipe', 'inherit'] })
      await new Promise((resolve) => child.stdout.once('data', resolve))
      await new Promise((resolve) => setTimeout(resolve, 5 + i * 7))
      child.kill('SIGKILL')
      await new Promise((resolve) => child.once('exit', resolve))
      const store = await openStore(home, places) // the lock went with the process
      const count = await checkInvariants(store)
      assert.ok(count >= seen, 'what was acknowledged stays')
      seen = count
      await store.close()
    }
    assert.ok(seen > 0)
  })
}

test('whichever file operation fails, nothing is half there', async () => {
  for (let k = 1; ; k++) {
    let calls = 0
    const failing =
      <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
      async (...args: A): Promise<R> => {
        if (++calls === k) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
        return call(...args)
      }
    const wrapped: Files = {
      ...files,
      mkdir: failing(files.mkdir as never) as never,
      rename: failing(files.rename as never) as never,
      open: (async (...args: Parameters<typeof files.open>) => {
        const handle = await failing(files.open)(...args)
        const [write, sync] = [handle.writeFile.bind(handle), handle.sync.bind(handle)]
        return Object.assign(handle, { writeFile: failing(write as never), sync: failing(sync) })
      }) as never,
    }
    const home = newHome()
    const store = await openStore(home, { files: wrapped })
    const done = await new Registry(store).register('full', manifest(), { 'model.onnx': Buffer.from('abc') }).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        assert.equal(error.code, 'ENOSPC')
        return false
      },
    )
    assert.equal(await checkInvariants(store), done ? 1 : 0)
    const partials = await files.readdir(join(home, 'blobs', 'incoming')).catch(() => [])
    assert.deepEqual(partials, [], 'no partial file is left')
    await store.close()
    if (done) {
      assert.ok(k > 5, 'the operations were counted')
      break
    }
  }
})

for (const { name, skip, fresh } of backends) {
  test(`tenants have tables and files of their own: ${name}`, { skip }, async () => {
    const { home, places } = await fresh()
    const where = { database: places.database ?? '', blobs: places.blobs ?? '' }
    const stores = [
      await openStore(home, placesOf(where, 'default')),
      await openStore(join(home, 'tenants', 'the-other.one'), placesOf(where, 'the-other.one')),
    ]
    const [ours, theirs] = stores.map((store) => new Registry(store))
    await ours.register('same', manifest({ family: 'ours' }), { 'model.onnx': Buffer.from('ours') })
    await assert.rejects(theirs.resolve('same'), code('MODEL_NOT_FOUND'))
    await theirs.register('same', manifest({ family: 'theirs' }), { 'model.onnx': Buffer.from('theirs') })
    assert.equal((await ours.resolve('same')).manifest.family, 'ours')
    assert.equal((await theirs.resolve('same')).version, 1)
    await theirs.collectGarbage({ days: 0 })
    await ours.checkout(await ours.resolve('same'))
    await Promise.all(stores.map((store) => store.close()))
  })
}

test('what was deleted and nothing refers to is collected again and again, until it is closed', async () => {
  const store = await openStore(newHome())
  const registry = new Registry(store)
  await registry.register('old', manifest(), { 'model.onnx': Buffer.from('old') })
  await registry.delete('old')
  const { promise: emptied, resolve } = Promise.withResolvers<void>()
  let failures = 1
  const told: unknown[] = []
  const collecting = collectRegularly(
    async () => {
      if (failures-- > 0) throw new Error('the database is away')
      return registry.collectGarbage({ days: 0 })
    },
    1,
    {
      failed: (error) => told.push(String(error)),
      done: (what) => {
        told.push(what)
        if (what.versions === 0) resolve()
      },
    },
  )
  await emptied
  await collecting.close()
  assert.deepEqual(told.slice(0, 3), [
    'Error: the database is away',
    { versions: 1, blobs: 1, bytes: 3 },
    { versions: 0, blobs: 0, bytes: 0 },
  ])
  const count = told.length
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(told.length, count)
  await store.close()
})

test('a data folder belongs to one process at a time', async () => {
  const home = newHome()
  const store = await openStore(home)
  await assert.rejects(
    openStore(home),
    (error: AthanorError) => code('HOME_BUSY')(error) && error.message.includes(String(process.pid)),
  )
  await store.close()
  await (await openStore(home)).close()
  writeFileSync(join(root, 'a-file'), '')
  await assert.rejects(openStore(join(root, 'a-file', 'below')), code('HOME_UNUSABLE'))
})
