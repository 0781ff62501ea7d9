import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import ort from '../base/onnxruntime.ts'
import { GraphBuilder, type Value } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { float32 } from '../graph/tensor.ts'
import { openGraph, readGraph } from './session.ts'

test('weights are mapped from the bundle’s file; answers are those of the graph in memory', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-mapped-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const graph = new GraphBuilder()
  const rows = graph.input('rows', 'int64', ['n'])
  const table = graph.initializer('table', float32([500, 7], Array.from({ length: 3500 }, Math.sin)))
  const small = graph.initializer('small', float32([7], [1, 2, 3, 4, 5, 6, 7]))
  graph.output(o.mul(o.gather(table, rows), small), 'y')
  const path = join(folder, 'weights')
  writeFileSync(path, writeModel(graph.build()))
  const read = () => readFileSync(path)
  const feeds = { rows: new ort.Tensor('int64', BigInt64Array.of(0n, 250n, 499n), [3]) }
  const answers: unknown[] = []
  for (const more of [{}, { paths: { 'model.onnx': path } }]) {
    const session = await openGraph(read, { threads: 1, ...more })
    answers.push([...((await session.run(feeds)).y.data as Float32Array)])
    if (process.platform === 'linux')
      assert.equal(readFileSync('/proc/self/maps', 'utf8').includes(path), 'paths' in more, 'mapped')
    await session.release()
  }
  assert.deepEqual(answers[1], answers[0])
})

test('threads suit the weights of products; tables that are looked up do not count', () => {
  const large = float32([1200, 1000], new Float32Array(1_200_000))
  const threads = (build: (graph: GraphBuilder, weight: Value) => Value) => {
    const graph = new GraphBuilder()
    graph.output(build(graph, graph.initializer('weight', large)), 'y')
    const bytes = writeModel(graph.build())
    return readGraph(() => bytes).threads
  }
  assert.equal(
    threads((graph, table) => o.gather(table, graph.input('rows', 'int64', ['n']))),
    1,
  )
  assert.equal(
    threads((graph, matrix) => o.matMul(graph.input('x', 'float32', ['n', 1200]), matrix)),
    Math.min(8, availableParallelism()),
  )
})
