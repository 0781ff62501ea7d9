import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ByteBuffer } from 'flatbuffers'
import type { Manifest } from '../../bundle/manifest.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import * as o from '../../graph/ops.ts'
import { float32 } from '../../graph/tensor.ts'
import { madeVariants } from '../../testing/variants.ts'
import { formats } from '../formats.ts'

const write = formats.find(({ name }) => name === 'tflite')!.write!
const manifest = { task: 'tensor' } as Manifest

/** A table of a flatbuffer, its fields by their numbers in schema.fbs. */
class Table {
  readonly bytes: ByteBuffer
  readonly at: number
  constructor(bytes: ByteBuffer, at: number) {
    this.bytes = bytes
    this.at = at
  }
  static root(bytes: ByteBuffer): Table {
    return new Table(bytes, bytes.readInt32(0))
  }
  #place(field: number): number {
    const offset = this.bytes.__offset(this.at, 4 + 2 * field)
    assert.ok(offset > 0, `field ${field}`)
    return this.at + offset
  }
  /** 0 is not stored. */
  int(field: number): number {
    const offset = this.bytes.__offset(this.at, 4 + 2 * field)
    return offset === 0 ? 0 : this.bytes.readInt32(this.at + offset)
  }
  text(field: number): string {
    return String(this.bytes.__string(this.#place(field)))
  }
  /** Where the elements of a list begin, and how many there are. */
  list(field: number): [at: number, length: number] {
    const vector = this.bytes.__indirect(this.#place(field))
    return [vector + 4, this.bytes.readInt32(vector)]
  }
  tables(field: number): Table[] {
    const [at, length] = this.list(field)
    return Array.from({ length }, (_, i) => new Table(this.bytes, this.bytes.__indirect(at + 4 * i)))
  }
  ints(field: number): number[] {
    const [at, length] = this.list(field)
    return Array.from({ length }, (_, i) => this.bytes.readInt32(at + 4 * i))
  }
}

test('a product and its bias are written as the schema says: operators, shapes, weights, signature', async () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['rows', 3])
  const weight = Float32Array.of(1, 2, 3, 4, 5, 6)
  g.output(
    o.add(o.matMul(x, g.initializer('w', float32([3, 2], weight))), g.initializer('b', float32([2], [7, 8]))),
    'y',
  )
  const { 'model.tflite': file } = await write({ model: g.build(), manifest }, {})
  const bytes = new ByteBuffer(file)
  assert.equal(Buffer.from(file.subarray(4, 8)).toString(), 'TFL3')
  const model = Table.root(bytes)
  const codes = model.tables(1).map((code) => code.int(3))
  const [graph] = model.tables(2)
  const operators = graph.tables(3)
  assert.deepEqual(
    operators.map((operator) => codes[operator.int(0)]),
    [126, 0], // BATCH_MATMUL, ADD
  )
  const tensors = graph.tables(0)
  const [product, sum] = operators
  assert.deepEqual(tensors[graph.ints(1)[0]].ints(0), [1, 3])
  assert.deepEqual(tensors[graph.ints(1)[0]].ints(7), [-1, 3])
  assert.deepEqual(product.ints(1)[0], graph.ints(1)[0])
  assert.deepEqual(sum.ints(1)[0], product.ints(2)[0])
  assert.deepEqual(sum.ints(2), graph.ints(2))
  const stored = tensors[product.ints(1)[1]]
  assert.deepEqual(stored.ints(0), [3, 2])
  const [at, length] = model.tables(4)[stored.int(2)].list(0)
  assert.equal(at % 16, 0)
  assert.deepEqual(new Float32Array(file.slice(at, at + length).buffer), weight)
  const [signature] = model.tables(7)
  assert.equal(signature.text(2), 'serving_default')
  assert.deepEqual([signature.tables(0)[0].text(0), signature.tables(1)[0].text(0)], ['x', 'y'])
})

test('what loops or grows is refused with its reason', async () => {
  const made = await madeVariants()
  for (const { name, model, manifest } of made) {
    const recurrent = /^(lstm|gru|rnn)/.test(name)
    const written = write({ model, manifest }, {})
    if (recurrent) await assert.rejects(written, { code: 'UNSUPPORTED', message: /recurrent layers/ })
    else assert.deepEqual(Object.keys(await written), ['model.tflite'])
  }
  const { model } = made[0]
  await assert.rejects(write({ model, manifest: { task: 'text-generation' } as Manifest }, {}), { code: 'UNSUPPORTED' })
})
