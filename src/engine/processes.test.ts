import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { tinyClassifier } from '../testing/tiny.ts'
import { Engine } from './engine.ts'
import { Spare, startProcess } from './processes.ts'

test('a spare process runs the next version; one that died meanwhile is not used', { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-spare-'))
  const spare = new Spare(1)
  try {
    const { manifest, files } = await tinyClassifier()
    const paths = Object.entries(files).map(([name, content]) => {
      writeFileSync(join(folder, name), content)
      return [name, join(folder, name)] as const
    })
    const spec = { name: 'tiny', version: 1, manifest, files: Object.fromEntries(paths) }
    const answers: string[] = []
    let killed = false
    for (let round = 0; round < 3; round++) {
      await wait(20)
      const engine = new Engine(spec, {}, () => spare.take())
      const { output } = await engine.request({ texts: ['the quick brown fox'] }, { deadline: 30_000 })
      answers.push(JSON.stringify(output))
      await engine.stop()
    }
    assert.equal(new Set(answers).size, 1)

    const engine = new Engine(spec, {}, () => {
      const child = spare.take()
      if (!killed) child.kill('SIGKILL')
      killed ||= true
      return child
    })
    await assert.rejects(engine.ready, { code: 'ENGINE_CRASHED' })
    const { output } = await engine.request({ texts: ['the quick brown fox'] }, { deadline: 30_000 })
    assert.equal(JSON.stringify(output), answers[0], 'its successor answers')
    await engine.stop()
  } finally {
    spare.close()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('what an engine compiled is kept for the next one, though it is killed', { timeout: 60_000 }, async () => {
  const cache = mkdtempSync(join(tmpdir(), 'athanor-compiled-'))
  const before = process.env.NODE_COMPILE_CACHE
  process.env.NODE_COMPILE_CACHE = cache
  const child = startProcess()
  try {
    child.send({ type: 'prepare' })
    while (!readdirSync(cache, { recursive: true }).some((name) => /[0-9a-f]{8}$/.test(String(name)))) await wait(20)
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
    if (before === undefined) delete process.env.NODE_COMPILE_CACHE
    else process.env.NODE_COMPILE_CACHE = before
    rmSync(cache, { recursive: true, force: true })
  }
})
