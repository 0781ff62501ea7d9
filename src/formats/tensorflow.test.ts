import assert from 'node:assert/strict'
import { test } from 'node:test'
import ort from '../base/onnxruntime.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { goldenSavedModels } from '../testing/savedmodels.ts'
import { madeRows, madeVariants } from '../testing/variants.ts'
import { formats } from './formats.ts'
import { importBundle } from './import.ts'
import { sourceOf } from './source.ts'

const format = (name: string) => formats.find((one) => one.name === name)!
const golden = goldenSavedModels()

async function answers(model: ModelProto, feeds: (type: string) => Record<string, ort.Tensor>): Promise<Float32Array> {
  const bytes = writeModel(model)
  readModel(bytes) // what every version is checked by
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const [input] = session.inputMetadata
  const results = await session.run(feeds(input.isTensor ? input.type : ''))
  return results[session.outputNames[0]].data as Float32Array
}
const near = (found: Float32Array, wanted: ArrayLike<number>) => {
  assert.equal(found.length, wanted.length)
  found.forEach((value, i) => {
    assert.ok(Math.abs(value - wanted[i]) <= 1e-5, `${value}, expected ${wanted[i]}`)
  })
}

for (const [name, { files, input, output }] of Object.entries(golden)) {
  test(`${name}: a SavedModel that Keras exported computes the same`, async () => {
    const { manifest, files: bundle } = await importBundle(sourceOf(files), { task: 'tensor' })
    assert.equal(manifest.family, 'savedmodel')
    const [{ name: key }] = manifest.signature.inputs
    const data = input.type === 'int32' ? Int32Array.from(input.data) : Float32Array.from(input.data)
    const feeds = () => ({ [key]: new ort.Tensor(input.type as 'int32', data as Int32Array, input.shape) })
    near(await answers(readModel(bundle['model.onnx']), feeds), output.data)
  })
}

for (const name of ['savedmodel', 'tfjs-graph']) {
  test(`${name}: what is written is read again and computes the same, or its loops are refused by name`, async () => {
    const { ids, lengths } = madeRows(40)
    for (const made of await madeVariants()) {
      if (name === 'tfjs-graph' && made.name.endsWith('ngrams')) continue // not written
      const read = async () => (await format(name).read!(sourceOf(await format(name).write!(made, {})))).model
      if (/^(lstm|gru|rnn)/.test(made.name)) {
        await assert.rejects(read, { code: 'UNSUPPORTED', message: /Enter, Exit, .*NextIteration, Switch/ })
        continue
      }
      const feeds = (type: string) => {
        const numbers = (all: number[]) => (type === 'int64' ? BigInt64Array.from(all, BigInt) : Int32Array.from(all))
        const tensor = (all: number[], dims: number[]) =>
          new ort.Tensor(type as 'int32', numbers(all) as Int32Array, dims)
        return { ids: tensor(ids.flat(), [ids.length, ids[0].length]), lengths: tensor(lengths, [lengths.length]) }
      }
      const [found, wanted] = [await answers(await read(), feeds), await answers(made.model, () => feeds('int64'))]
      near(found, wanted)
    }
  })
}

test('a SavedModel without its variables says so', async () => {
  const { 'saved_model.pb': alone } = golden.conv.files
  await assert.rejects(importBundle(sourceOf({ 'saved_model.pb': alone }), {}), {
    code: 'FORMAT_INVALID',
    message: /whole folder/,
  })
})
