import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { AthanorError } from '../base/errors.ts'
import { Registry } from '../registry/registry.ts'
import { backends, removeBackends } from '../testing/backends.ts'
import { tensorManifest } from '../testing/manifest.ts'
import { tinyGraph } from '../testing/tiny.ts'
import { checkBackup, packBackup, readBackup } from './backup.ts'
import { Datasets } from './datasets.ts'
import { dump } from './dump.ts'
import { load } from './load.ts'
import { LogEntries } from './log.ts'
import { openStore, openTarget, type Store } from './store.ts'

const root = await mkdtemp(join(tmpdir(), 'athanor-backup-'))
after(async () => {
  await rm(root, { recursive: true, force: true })
  await removeBackends()
})
const code = (expected: string) => (error: AthanorError) => error.code === expected

const manifest = tensorManifest({ labels: ['好评'], metrics: { accuracy: 0.5 } })

async function fill(store: Store) {
  const registry = new Registry(store)
  await registry.register('a', manifest, { 'model.onnx': tinyGraph() })
  await registry.register('a', { ...manifest, metrics: { accuracy: 0.25 } }, { 'model.onnx': Buffer.from('second') })
  await registry.setAlias('a', 'champion', 1)
  await registry.setCard('a', { licence: 'MIT', text: '丹' })
  await registry.setTags('a', { team: 'x' })
  await registry.delete('a@2')
  await new Datasets(store).add('rows.csv', Readable.from([Buffer.from('text,label\n')]), 1000)
  await new LogEntries(store).add([{ at: new Date(0).toISOString(), level: 'info', event: 'one', ms: 1.5 }])
}

/** What two stores with the same content give the same of. */
async function content(store: Store) {
  const registry = new Registry(store)
  await registry.indexMissing()
  const version = await registry.resolve('a@champion')
  const paths = await registry.checkout(version)
  const all = {
    version,
    bytes: readFileSync(paths['model.onnx']).toString('base64'),
    card: await registry.card('a'),
    tags: await registry.tags('a'),
    deleted: await registry.deleted(),
    found: (await registry.search({ search: '好评' })).models.filter(({ name }) => name === 'a'),
    data: await new Datasets(store).list(),
    log: await new LogEntries(store).list({}),
  }
  return JSON.parse(JSON.stringify(all)) as typeof all
}

for (const from of backends) {
  for (const to of backends) {
    const skip = from.skip || to.skip
    test(`a backup of ${from.name} fills ${to.name}, all of it or nothing`, { skip }, async () => {
      const source = await from.fresh()
      const store = await openStore(source.home, source.places)
      await fill(store)
      const path = join(root, `${from.name}-${to.name}.tar`.replaceAll(' ', '_'))
      const parts = dump(store, { blobs: true })
      const first = await parts.next()
      // what is written once the snapshot is taken is not in it, and nothing waits for it
      const registry = new Registry(store)
      await registry.register('later', manifest, { 'model.onnx': Buffer.from('later') })
      assert.deepEqual(await registry.collectGarbage({ days: 0 }), { versions: 0, blobs: 0, bytes: 0 }, 'held off')
      const all = (async function* () {
        if (!first.done) yield first.value
        yield* parts
      })()
      await writeFile(path, packBackup(all))
      const found = await checkBackup(path)
      assert.equal(found.blobs, 3)

      const place = await to.fresh()
      const target = await openTarget(place.home, place.places)
      const whole = readFileSync(path)
      const broken = join(root, 'broken.tar')
      for (const at of [0.3 * whole.length, 0.6 * whole.length, whole.length - 1800]) {
        await writeFile(broken, whole)
        await truncate(broken, Math.floor(at))
        await assert.rejects(load(target, readBackup(broken)), code('BACKUP_INVALID'), `cut at ${at}`)
      }
      for (const text of ['好评', 'champion', 'second']) {
        const changed = Buffer.from(whole)
        const at = changed.indexOf(text)
        assert.ok(at > 0, text)
        changed[at + 1] ^= 1
        await writeFile(broken, changed)
        await assert.rejects(load(target, readBackup(broken)), code('BACKUP_INVALID'), text)
      }
      assert.deepEqual(await load(target, readBackup(path)), found)
      await assert.rejects(load(target, readBackup(path)), code('NOT_EMPTY'))
      await target.close()
      const copy = await openStore(place.home, place.places)
      assert.deepEqual(await content(copy), await content(store))
      await assert.rejects(new Registry(copy).resolve('later'), code('MODEL_NOT_FOUND'))
      await new LogEntries(copy).add([{ at: new Date(1).toISOString(), level: 'info', event: 'two' }])
      assert.equal((await new LogEntries(copy).list({})).length, 2, 'numbers go on after those that came')
      assert.equal((await new Registry(copy).register('a', manifest, { 'model.onnx': tinyGraph() })).version, 3)
      await Promise.all([store.close(), copy.close()])
    })
  }

  test(`a migration that is killed has moved nothing or everything, and can be done again: ${from.name}`, {
    skip: from.skip,
  }, async () => {
    const source = await backends[0].fresh()
    const store = await openStore(source.home)
    await fill(store)
    const { db } = store
    const entry = { level: 'info', code: null, message: 'x'.repeat(200), hint: null, model: null }
    const rest = { version: null, request_id: null, ms: null, detail: null, at: '', event: 'filler' }
    for (let i = 0; i < 20; i++)
      await db
        .insertInto('log_entries')
        .values(Array.from({ length: 500 }, () => ({ ...entry, ...rest })))
        .execute()
    await store.close()
    const place = await from.fresh()
    const script = join(root, 'migrate.ts')
    const at = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
    writeFileSync(
      script,
      `import { openStore, openTarget } from ${at('./store.ts')}
       import { dump } from ${at('./dump.ts')}
       import { load } from ${at('./load.ts')}
       const { source, place } = JSON.parse(process.argv[2])
       const store = await openStore(source.home)
       const target = await openTarget(place.home, place.places)
       console.log('begun')
       await load(target, dump(store, { blobs: true }))
       console.log('done')`,
    )
    const run = async (killAfter?: number) => {
      const child = spawn(process.execPath, [script, JSON.stringify({ source, place })], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let told = ''
      child.stdout.on('data', (text) => (told += text))
      const exited = new Promise((resolve) => child.once('exit', resolve))
      while (killAfter !== undefined && !told.includes('begun')) await setTimeout(5)
      if (killAfter !== undefined) {
        await setTimeout(killAfter)
        child.kill('SIGKILL')
      }
      await exited
      return told.includes('done')
    }
    for (const delay of [20, 120, 300]) {
      if (await run(delay)) return // faster than it could be killed: everything is there
      const target = await openStore(place.home, place.places)
      const rows = (table: 'models' | 'datasets' | 'runs') => target.db.selectFrom(table).selectAll().execute()
      const moved = (await rows('models')).length > 0
      if (moved) assert.equal((await new Registry(target).resolve('a@champion')).version, 1)
      else
        for (const table of ['datasets', 'runs'] as const) assert.deepEqual(await rows(table), [], `after ${delay} ms`)
      await target.close()
      if (moved) return // it was killed between its last step and saying so
    }
    assert.ok(await run())
    const target = await openStore(place.home, place.places)
    assert.equal((await new Registry(target).resolve('a@champion')).version, 1)
    await target.close()
  })
}
