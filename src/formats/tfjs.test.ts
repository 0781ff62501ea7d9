import assert from 'node:assert/strict'
import { test } from 'node:test'
import '@tensorflow/tfjs-backend-cpu'
import { loadGraphModel } from '@tensorflow/tfjs-converter'
import * as tf from '@tensorflow/tfjs-core'
import { loadLayersModel } from '@tensorflow/tfjs-layers'
import ort from '../base/onnxruntime.ts'
import { writeModel } from '../graph/codec.ts'
import { madeRows, madeVariants } from '../testing/variants.ts'
import { formats } from './formats.ts'
import type { Files } from './source.ts'

const { ids, lengths } = madeRows(40)
const made = await madeVariants()

/** The files of an export as TensorFlow.js gets them. */
function handler(files: Files): tf.io.IOHandler {
  const document = JSON.parse(new TextDecoder().decode(files['model.json']))
  const paths = document.weightsManifest.flatMap((group: { paths: string[] }) => group.paths) as string[]
  const weightData = Buffer.concat(paths.map((path) => files[path]))
  const weightSpecs = document.weightsManifest.flatMap((group: { weights: unknown[] }) => group.weights)
  return tf.io.fromMemory({
    ...document,
    weightSpecs,
    weightData: weightData.buffer.slice(weightData.byteOffset, weightData.byteOffset + weightData.byteLength),
  })
}

async function expected(model: Uint8Array): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 })
  const { probabilities } = await session.run({
    ids: new ort.Tensor('int64', BigInt64Array.from(ids.flat(), BigInt), [ids.length, ids[0].length]),
    lengths: new ort.Tensor('int64', BigInt64Array.from(lengths, BigInt), [lengths.length]),
  })
  return probabilities.data as Float32Array
}

for (const one of made.filter(({ name }) => !/^(transformer|gru)|ngrams$/.test(name))) {
  test(`${one.name}: TensorFlow.js loads the layers and computes the same`, async () => {
    const files = await formats.find(({ name }) => name === 'tfjs-layers')!.write!(one, {})
    const model = await loadLayersModel(handler(files))
    const answer = (model.predict(tf.tensor2d(ids, [ids.length, ids[0].length], 'int32')) as tf.Tensor).dataSync()
    const wanted = await expected(writeModel(one.model))
    wanted.forEach((value, i) => {
      assert.ok(Math.abs(value - answer[i]) <= 1e-5, `${answer[i]}, expected ${value}`)
    })
  })
}

for (const one of made) {
  test(`${one.name}: TensorFlow.js loads the graph and computes the same`, async () => {
    const write = formats.find(({ name }) => name === 'tfjs-graph')!.write!(one, {})
    if (one.name.endsWith('ngrams')) return assert.rejects(write, { code: 'UNSUPPORTED', message: /Mod/ })
    const model = await loadGraphModel(handler(await write))
    const feeds = {
      ids: tf.tensor2d(ids, [ids.length, ids[0].length], 'int32'),
      lengths: tf.tensor1d(lengths, 'int32'),
    }
    const answer = ((await model.executeAsync(feeds, 'probabilities_out')) as tf.Tensor).dataSync()
    const wanted = await expected(writeModel(one.model))
    wanted.forEach((value, i) => {
      assert.ok(Math.abs(value - answer[i]) <= 1e-5, `${answer[i]}, expected ${value}`)
    })
  })
}
