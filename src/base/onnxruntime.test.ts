import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'

test('onnxruntime keeps nothing of what it runs in the user’s home or beside it', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-telemetry-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const places = { HOME: join(folder, 'home'), TMPDIR: join(folder, 'tmp') }
  for (const place of Object.values(places)) mkdirSync(place)
  const graph = new GraphBuilder()
  const x = graph.input('x', 'float32', [2])
  graph.output(o.add(x, x), 'y')
  const script = `
    import ort from ${JSON.stringify(new URL('./onnxruntime.ts', import.meta.url).href)}
    const session = await ort.InferenceSession.create(Buffer.from(process.argv[1], 'base64'))
    const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.of(1, 2), [2]) })
    console.log(y.data.join())`
  const model = Buffer.from(writeModel(graph.build())).toString('base64')
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', script, model], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...places },
  })
  assert.equal(said.trim(), '2,4')
  for (const place of Object.values(places)) assert.deepEqual(readdirSync(place), [])
})
