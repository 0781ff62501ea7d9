import assert from 'node:assert/strict'
import { test } from 'node:test'
import ort from '../base/onnxruntime.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { decoderGraph } from '../nn/decoder.ts'
import { encoderModel } from '../nn/encoders.ts'
import { smallDecoder } from '../testing/decoders.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { readDecoderFolder, writeDecoderFolder } from './decoders/huggingface.ts'
import { withWholeHeads } from './whole-heads.ts'

const int64 = (dims: number[], values: number[]) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims)
async function answers(model: ModelProto, feeds: Record<string, ort.Tensor>): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
  const [first] = Object.values(await session.run(feeds))
  await session.release()
  return first.data as Float32Array
}
const near = (found: Float32Array, expected: Float32Array) => {
  assert.equal(found.length, expected.length)
  const apart = Math.max(...found.map((value, i) => Math.abs(value - expected[i])))
  assert.ok(apart < 1e-5, `apart ${apart}`)
}

test('heads that were pruned come back as zeros: the answers of an encoder stay', async () => {
  for (const layout of ['bert', 'distilbert'] as const) {
    const pruned = tinyEncoder(
      ['a b c'],
      { task: 'text-classification', classes: 2 },
      { layout, sizes: { heads: 3, headSize: 8 } },
    )
    const whole = withWholeHeads(pruned)
    assert.deepEqual([whole.config.heads, whole.config.headSize], [4, undefined])
    const feeds = { ids: int64([1, 4], [2, 6, 7, 3]), lengths: int64([1], [4]) }
    const of = ({ config, head, weights }: typeof pruned) => answers(encoderModel(config, head, weights), feeds)
    near(await of(whole), await of(pruned))
    assert.equal(withWholeHeads(whole), whole)
  }
})

test('heads that were pruned come back as zeros: a GPT-2 folder gives the same scores', async () => {
  const pruned = await smallDecoder('gpt', { sizes: { heads: 3, keyHeads: 3, headSize: 16 } })
  const files = writeDecoderFolder(pruned)
  const whole = readDecoderFolder((name) => (name in files ? Buffer.from(files[name]) : undefined))
  assert.deepEqual([whole.config.heads, whole.config.keyHeads, whole.config.headSize], [4, 4, undefined])
  const of = ({ config, weights }: typeof pruned) => {
    const past = Array.from({ length: config.layers }, (_, i) =>
      ['key', 'value'].map((part) => [
        `past_key_values.${i}.${part}`,
        new ort.Tensor('float32', new Float32Array(0), [1, config.heads, 0, 16]),
      ]),
    )
    const feeds = {
      input_ids: int64([1, 3], [5, 6, 7]),
      attention_mask: int64([1, 3], [1, 1, 1]),
      position_ids: int64([1, 3], [0, 1, 2]),
    }
    return answers(decoderGraph(config, weights), { ...feeds, ...Object.fromEntries(past.flat()) })
  }
  near(await of(whole), await of(pruned))
})

test('heads whose size does not divide the width are refused', () => {
  const odd = tinyEncoder(['a'], { task: 'fill-mask' }, { sizes: { heads: 2, headSize: 12 } })
  assert.throws(() => withWholeHeads(odd), { code: 'UNSUPPORTED' })
})
