import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { UpdateQueryNode } from 'kysely'
import { Registry } from '../registry/registry.ts'
import { Datasets } from '../store/datasets.ts'
import { openStore } from '../store/store.ts'
import { placesAt } from '../testing/backends.ts'
import type { TrainEvent } from './events.ts'
import { Runs } from './runs.ts'

test('a run whose end cannot be stored, as on a full disk, is told as failed to all who ask, and goes on when there is room', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'athanor-runs-'))
  const store = await openStore(home, await placesAt(home))
  if (store.shared) {
    await store.close()
    return t.skip('a database of several servers is not on this disk')
  }
  let full = true
  const db = store.db.withPlugin({
    transformQuery({ node }) {
      if (full && UpdateQueryNode.is(node)) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
      return node
    },
    transformResult: async ({ result }) => result,
  })
  const refinement = { worker: new URL('file:///none'), check: async () => '', job: async () => assert.fail() }
  const runs = await Runs.open({ ...store, db }, new Registry(store), refinement)
  const told = async (run: string) => {
    const events: TrainEvent[] = []
    for await (const { event } of runs.events(run, 0, AbortSignal.timeout(400_000))) events.push(event)
    return events
  }
  try {
    const rows = Array.from({ length: 30 }, (_, i) => `text ${i},good`).join('\n')
    const { id } = await new Datasets(store).add('x.csv', Readable.from([Buffer.from(`text,label\n${rows}\n`)]), 1e6)
    const { run } = await runs.create({ dataset: id, family: 'bow' })
    for (const events of [await told(run), await told(run)]) {
      const failed = events.find((event) => event.type === 'failed')
      assert.equal(failed?.error.code, 'DISK_FULL')
      assert.match(failed.error.hint, /athanor train --resume x-1/)
      assert.deepEqual(events.at(-1), { type: 'state', state: 'failed' })
    }
    full = false
    assert.equal((await runs.resume(run)).state, 'queued')
    // it went on to what its data is wrong about
    const last = (await told(run)).findLast((event) => event.type === 'failed')
    assert.equal(last?.error.code, 'ONE_CLASS')
    assert.equal((await runs.get(run)).state, 'failed')
  } finally {
    await runs.close()
    await store.close()
    rmSync(home, { recursive: true })
  }
})
