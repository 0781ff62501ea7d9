import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { create, fromBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { AthanorError } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'
import { ALIGNMENT, LARGE } from './aligned.ts'
import { GraphBuilder } from './builder.ts'
import { readModel, writeModel } from './codec.ts'
import {
  type ModelProto,
  NodeProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from './gen/onnx_pb.js'
import * as o from './ops.ts'
import { float32 } from './tensor.ts'
import { fromProto } from './tensor-proto.ts'

function sample(): ModelProto {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['batch', 4])
  const w = g.initializer('w', float32([4, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]))
  const y = o.relu(o.matMul(x, w))
  const { outputs } = o.scan([o.reduceSum(y, [0])], [y], ([s], [row]) => ({
    states: [o.add(s, row)],
    outputs: [o.mul(row, s)],
  }))
  g.output(outputs[0], 'z')
  return g.build()
}
const refused = (reason: RegExp) => (error: unknown) =>
  error instanceof AthanorError && error.code === 'MODEL_INVALID' && reason.test(error.message)

test('large tensors are aligned in the file, whatever stands before them', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 6 }),
      fc.string(),
      (sizes, name) => {
        const g = new GraphBuilder()
        for (const [i, size] of sizes.entries())
          g.output(o.neg(g.initializer(`${i}${name}`, float32([size], Array(size).fill(i)))), `y${i}`)
        const bytes = writeModel(g.build())
        const { initializer } = readModel(bytes).graph!
        assert.deepEqual(
          initializer.map((tensor) => [...fromProto(tensor).dims, Number(fromProto(tensor).data[0])]),
          sizes.map((size, i) => [size, i]),
        )
        for (const { rawData } of initializer.filter(({ rawData }) => rawData.byteLength >= LARGE))
          assert.equal((rawData.byteOffset - bytes.byteOffset) % ALIGNMENT, 0)
        assert.deepEqual(Buffer.from(writeModel(readModel(bytes))), Buffer.from(bytes))
      },
    ),
    { numRuns: 60 },
  )
})

test('what is written is read back the same', () => {
  const bytes = writeModel(sample())
  assert.deepEqual(Buffer.from(writeModel(readModel(bytes))), Buffer.from(bytes))
})

const hostile: Record<string, [change: (model: ModelProto) => void, reason: RegExp]> = {
  'no graph': [(m) => delete m.graph, /no graph/],
  '2^31 elements claimed': [(m) => (m.graph!.initializer[0].dims = [2n ** 31n]), /asks for/],
  'a shape whose product overflows': [
    (m) => (m.graph!.initializer[0].dims = [2n ** 62n, 2n ** 62n]),
    /more elements than can be counted/,
  ],
  'a negative dimension': [(m) => (m.graph!.initializer[0].dims = [-4n, -3n]), /negative/],
  'too few bytes': [(m) => (m.graph!.initializer[0].rawData = new Uint8Array(44)), /44 bytes/],
  'no data at all': [(m) => (m.graph!.initializer[0].rawData = new Uint8Array()), /has 0 elements/],
  'rank 65': [(m) => (m.graph!.initializer[0].dims = Array(65).fill(1n)), /65 dimensions/],
  'external data outside its folder': [
    (m) => {
      const tensor = m.graph!.initializer[0]
      tensor.dataLocation = TensorProto_DataLocation.EXTERNAL
      tensor.externalData = [create(StringStringEntryProtoSchema, { key: 'location', value: '../../etc/passwd' })]
    },
    /another file/,
  ],
  'a cycle': [(m) => (m.graph!.node[0].input[0] = m.graph!.node.at(-1)!.output[0]), /cycle/],
  'an input that nothing makes': [(m) => (m.graph!.node[0].input[0] = 'nowhere'), /nothing makes/],
  'a value made twice': [(m) => (m.graph!.node[1].output[0] = m.graph!.node[0].output[0]), /made twice/],
  'an output that no node makes': [(m) => (m.graph!.output[0].name = 'gone'), /made by no node/],
  'an unknown operator domain': [(m) => (m.graph!.node[0].domain = 'my.library'), /operator domain/],
  'too many nodes': [
    (m) => {
      for (let i = 0; i <= 200_000; i++)
        m.graph!.node.push(create(NodeProtoSchema, { opType: 'Relu', output: [`n${i}`] }))
    },
    /nodes/,
  ],
}
for (const [name, [change, reason]] of Object.entries(hostile)) {
  test(`refused: ${name}`, () => {
    const model = sample()
    change(model)
    assert.throws(() => readModel(writeModel(model)), refused(reason))
  })
}

test('refused: wire-level lies', () => {
  assert.throws(() => readModel(new Uint8Array()), refused(/empty/))
  assert.throws(() => readModel(Buffer.from('PK\u0003\u0004 a zip')), refused(/./))
  assert.throws(
    () => readModel(Uint8Array.of(0x3a, 0xff, 0xff, 0xff, 0xff, 0x07, 1)),
    refused(/longer than what holds it/),
  )
  assert.throws(() => readModel(Uint8Array.of(0x08, ...Array(11).fill(0xff))), refused(/ten bytes/))
  assert.throws(() => readModel(Uint8Array.of(0x0b)), refused(/wire type 3/))
  // a graph in an attribute of a node of a graph …, deeper than anything real
  let nested: Uint8Array = new Uint8Array()
  const field = (number: number, content: Uint8Array) => {
    const length: number[] = []
    for (let n = content.length; ; n = Math.floor(n / 128)) {
      length.push(n >= 128 ? (n % 128) | 0x80 : n)
      if (n < 128) break
    }
    return Buffer.concat([Uint8Array.of(number * 8 + 2, ...length), content])
  }
  for (let i = 0; i < 40; i++) nested = field(1, field(5, field(6, nested)))
  assert.throws(() => readModel(field(7, nested)), refused(/nesting/))
})

test('changed bytes give a model or a refusal, never anything else', () => {
  const bytes = writeModel(sample())
  const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255))
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
      const copy = Uint8Array.from(bytes)
      for (const [at, value] of changes) copy[at] = value
      try {
        readModel(copy)
      } catch (error) {
        assert.ok(error instanceof AthanorError && error.code === 'MODEL_INVALID', String(error))
      }
    }),
    { numRuns: 10_000 },
  )
})

/** ONNX's operator conformance models, where the system has them (Debian: libonnx-testdata). */
const suite = process.env.ONNX_TESTDATA ?? '/usr/share/libonnx-testdata'
const found = [suite, '/usr/share/onnx', '/usr/lib/python3/dist-packages/onnx/backend/test/data']
  .flatMap((folder) => [join(folder, 'node'), join(folder, 'data', 'node'), folder])
  .find((folder) => existsSync(folder) && readdirSync(folder).some((name) => name.startsWith('test_')))

test("reading and writing ONNX's operator models changes nothing onnxruntime can see", {
  skip: found ? false : 'no ONNX test data here',
}, async (t) => {
  const counts = { equal: 0, ran: 0, refused: 0, notRun: 0 }
  const reasons = new Map<string, number>()
  for (const name of readdirSync(found!)) {
    const path = join(found!, name, 'model.onnx')
    if (!existsSync(path)) continue
    const original = readFileSync(path)
    let copy: Uint8Array
    try {
      copy = writeModel(readModel(original))
    } catch (error) {
      assert.ok(error instanceof AthanorError, `${name}: ${error}`)
      counts.refused++
      reasons.set(error.message.slice(0, 120), (reasons.get(error.message.slice(0, 120)) ?? 0) + 1)
      continue
    }
    const inputs = inputsIn(join(found!, name, 'test_data_set_0'))
    const [before, after] = [await look(original, inputs), await look(copy, inputs)]
    assert.deepEqual(after, before, name)
    if ('refused' in before) counts.notRun++
    else counts.equal++
    if ('results' in before) counts.ran++
  }
  t.diagnostic(
    `${counts.equal} the same, ${counts.ran} of them run; ${counts.notRun} not loadable by onnxruntime either way, ${counts.refused} refused: ${JSON.stringify([...reasons])}`,
  )
  assert.ok(counts.equal > 500 && counts.ran > 500)
})

/** The test's own inputs in their order; undefined where one is no tensor that we hold. */
function inputsIn(folder: string): ort.Tensor[] | undefined {
  try {
    return Array.from({ length: readdirSync(folder).filter((file) => file.startsWith('input_')).length }, (_, i) => {
      const { dtype, dims, data } = fromProto(
        fromBinary(TensorProtoSchema, readFileSync(join(folder, `input_${i}.pb`))),
      )
      return new ort.Tensor(dtype as 'float32', data as Float32Array, dims)
    })
  } catch {
    return undefined
  }
}

/** What onnxruntime makes of a model: its signature and its answer to the inputs, or why it refuses either. */
async function look(bytes: Uint8Array, inputs: readonly ort.Tensor[] | undefined): Promise<object> {
  let session: ort.InferenceSession
  try {
    session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 4, graphOptimizationLevel: 'disabled' })
  } catch (error) {
    return { refused: reasonOf(error) }
  }
  const { inputNames, outputNames, inputMetadata, outputMetadata } = session
  const signature = { inputNames, outputNames, inputMetadata, outputMetadata }
  try {
    if (inputs?.length !== inputNames.length) return { signature }
    const results = await session.run(Object.fromEntries(inputNames.map((name, i) => [name, inputs[i]])))
    return {
      signature,
      results: outputNames.map((name) => [results[name].type, results[name].dims, results[name].data]),
    }
  } catch (error) {
    return { signature, failed: reasonOf(error) }
  } finally {
    await session.release()
  }
}

const reasonOf = (error: unknown) => (error as Error).message.replace(/\d+/g, 'n')
