import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { AthanorError } from '../base/errors.ts'
import { tinyClassifier } from '../testing/tiny.ts'
import { tune } from './tune.ts'

test('ways to run a version are measured in turn, and one of them is chosen', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-tune-'))
  const { manifest, files } = await tinyClassifier()
  const paths = Object.fromEntries(Object.keys(files).map((name) => [name, join(folder, name)]))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(paths[name], bytes)
  const spec = { name: 'tiny', version: 1, manifest, files: paths }
  const { measured, chosen } = await tune(spec, { cores: 2, round: 10 })
  assert.deepEqual(
    measured.slice(0, 3).map(({ threads, replicas }) => [threads, replicas]),
    [
      [1, 1],
      [1, 2],
      [2, 1],
    ],
  )
  assert.deepEqual(
    measured.slice(3).map(({ tokenBudget }) => tokenBudget),
    [2048, 32_768],
  )
  assert.ok(measured.every(({ perSecond, alone, memory }) => perSecond > 0 && alone > 0 && memory > 20e6))
  const { threads, replicas, tokenBudget } = chosen
  assert.ok(
    measured.some((one) => one.threads === threads && one.replicas === replicas && one.tokenBudget === tokenBudget),
  )
  const generator = { ...spec, manifest: { ...manifest, task: 'text-generation' as const } }
  await assert.rejects(tune(generator), (error) => error instanceof AthanorError && error.code === 'UNSUPPORTED')
  rmSync(folder, { recursive: true, force: true })
})
