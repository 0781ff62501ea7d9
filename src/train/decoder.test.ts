import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { gradientName, trainingGraph } from '../autograd/training.ts'
import ort from '../base/onnxruntime.ts'
import { writeModel } from '../graph/codec.ts'
import { type DecoderConfig, decoderGraph, decoderLoss } from '../nn/decoder.ts'
import type { Batch } from './batch.ts'
import { TrainingSession } from './session.ts'

/** What tools/golden_decoder.py recorded from PyTorch and transformers, from weights and data that both sides compute. */
const golden = JSON.parse(readFileSync(new URL('./decoder.golden.json', import.meta.url), 'utf8')) as {
  cases: {
    config: DecoderConfig
    parameters: Record<string, number[]>
    logits: string
    gradients: Record<string, string>
    losses: number[]
  }[]
}
const [rows, time] = [5, 11]
const unpack = (text: string) => {
  const bytes = Buffer.from(text, 'base64')
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}

function weights(parameters: Record<string, number[]>) {
  return Object.fromEntries(
    Object.entries(parameters).map(([name, dims], k) => {
      const [centre, scale] = [name.endsWith('scale') ? 1 : 0, name.startsWith('embedding') ? 0.5 : 0.3]
      const length = dims.reduce((a, b) => a * b, 1)
      return [name, { dims, data: Float32Array.from({ length }, (_, i) => centre + Math.sin(i * 0.7 + k) * scale) }]
    }),
  )
}

function batchAt(step: number, vocabulary: number) {
  const ids: number[][] = []
  const targets: number[][] = []
  for (let r = 0; r < rows; r++) {
    const length = time - ((r * 2 + step) % 7)
    const row = Array.from({ length: length + 1 }, (_, t) => 1 + ((r * 7 + t * t * 3 + step * 5) % (vocabulary - 1)))
    const first = r % 2 ? 3 : 0
    ids.push(Array.from({ length: time }, (_, t) => (t < length ? row[t] : 0)))
    targets.push(Array.from({ length: time }, (_, t) => (t >= first && t < length ? row[t + 1] : -1)))
  }
  const tensor = (values: number[][]) =>
    ({ type: 'int64', dims: [rows, time], data: BigInt64Array.from(values.flat(), BigInt) }) as const
  const batch: Batch = {
    tensors: { ids: tensor(ids), targets: tensor(targets) },
    rows,
    sizes: { time },
    weights: targets.map((row) => row.filter((target) => target >= 0).length),
  }
  return { ids, batch }
}

const near = (actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string) => {
  assert.equal(actual.length, expected.length, what)
  for (let i = 0; i < expected.length; i++)
    assert.ok(Math.abs(actual[i] - expected[i]) <= tolerance, `${what}[${i}]: ${actual[i]}, PyTorch ${expected[i]}`)
}

for (const { config, parameters, logits, gradients, losses } of golden.cases) {
  const name = `${config.layout}${config.tied ? ', tied' : ''}, ${config.keyHeads} of ${config.heads} heads for keys`
  const graph = trainingGraph((network) => decoderLoss(network, config))

  test(`${name}: gradients of the first step and 100 losses agree with PyTorch`, async () => {
    assert.deepEqual(
      graph.parameters.map((parameter) => [parameter.name, parameter.dims]),
      Object.entries(parameters),
    )
    const session = await ort.InferenceSession.create(writeModel(graph.model), { logSeverityLevel: 3 })
    const { batch } = batchAt(0, config.vocabulary)
    const feeds: Record<string, ort.Tensor> = { share: new ort.Tensor('float32', Float32Array.of(1), []) }
    for (const [key, { dims, data }] of Object.entries(weights(parameters)))
      feeds[key] = new ort.Tensor('float32', data, dims)
    for (const [key, { dims, data }] of Object.entries(batch.tensors))
      feeds[key] = new ort.Tensor('int64', data as BigInt64Array, dims)
    const results = await session.run(feeds)
    for (const [key, expected] of Object.entries(gradients)) {
      const table = graph.tables.find((one) => one.name === key)
      const actual = results[gradientName(key)].data as Float32Array
      const dense = table ? addedUp(parameters[key], results[`indices:${key}`].data as BigInt64Array, actual) : actual
      near(dense, unpack(expected), 1e-5, `gradient of ${key}`)
    }
    for (const threads of [1, 2]) {
      const training = await TrainingSession.create(graph, {
        optimizer: 'adamw',
        weightDecay: 0.1,
        clipNorm: 1,
        seed: 1,
        threads,
        batchSize: 8 * threads,
      })
      training.restore(weights(parameters), 0)
      for (const [step, expected] of losses.entries()) {
        const { loss } = await training.train(batchAt(step, config.vocabulary).batch, 0.001)
        assert.ok(Math.abs(loss - expected) <= 1e-4 * expected, `step ${step + 1}: ${loss}, PyTorch ${expected}`)
      }
      await training.close()
    }
  })

  test(`${name}: the served graph gives PyTorch's scores, at once and token by token, padded and alone`, async () => {
    const model = decoderGraph(config, weights(parameters), { lastOnly: false })
    assert.deepEqual(
      model.opsetImport.map(({ domain }) => domain),
      [''],
      'standard ONNX only',
    )
    assert.ok(!model.graph!.node.some(({ opType }) => opType.startsWith('Simplified')))
    const session = await ort.InferenceSession.create(writeModel(model), { logSeverityLevel: 3 })
    const { ids } = batchAt(0, config.vocabulary)
    const expected = unpack(logits)
    const at = (r: number, t: number) =>
      expected.subarray((r * time + t) * config.vocabulary, (r * time + t + 1) * config.vocabulary)
    const heads = config.layout === 'gpt' ? config.heads : config.keyHeads
    const size = config.width / config.heads
    const whole = await session.run(
      feedsFor(
        ids,
        ids.map(() => 0),
        emptyPast(rows),
      ),
    )
    near(whole.logits.data as Float32Array, expected, 1e-5, 'logits')

    // rows of different length, padded at the left, read in pieces: what stands in the padding must not matter
    const lengths = ids.map((_, r) => time - ((r * 2) % 7))
    const starts = lengths.map((length) => time - length)
    const padded = ids.map((row, r) => [...Array<number>(starts[r]).fill(7 + r), ...row.slice(0, lengths[r])])
    let past = emptyPast(rows)
    let from = 0
    for (const count of [4, 1, 3, 1, 1, 1]) {
      const piece = padded.map((row) => row.slice(from, from + count))
      const results = await session.run(feedsFor(piece, starts, past, from))
      for (let r = 0; r < rows; r++) {
        for (let t = 0; t < count; t++) {
          if (from + t < starts[r]) continue
          const start = (r * count + t) * config.vocabulary
          const scores = (results.logits.data as Float32Array).subarray(start, start + config.vocabulary)
          near(scores, at(r, from + t - starts[r]), 1e-5, `row ${r}, token ${from + t - starts[r]}`)
        }
      }
      past = Object.fromEntries(
        session.outputNames.slice(1).map((output) => [output.replace('present', 'past_key_values'), results[output]]),
      )
      from += count
    }

    function emptyPast(batch: number): Record<string, ort.Tensor> {
      const empty = () => new ort.Tensor('float32', new Float32Array(), [batch, heads, 0, size])
      return Object.fromEntries(
        session.inputNames.filter((input) => input.startsWith('past')).map((input) => [input, empty()]),
      )
    }
  })
}

function feedsFor(ids: number[][], starts: number[], past: Record<string, ort.Tensor>, from = 0) {
  const [batch, count] = [ids.length, ids[0].length]
  const int64 = (values: number[], dims: number[]) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims)
  const every = (length: number) => Array.from({ length }, (_, i) => i)
  return {
    input_ids: int64(ids.flat(), [batch, count]),
    attention_mask: int64(
      starts.flatMap((start) => every(from + count).map((t) => Number(t >= start))),
      [batch, from + count],
    ),
    position_ids: int64(
      starts.flatMap((start) => every(count).map((t) => Math.max(0, from + t - start))),
      [batch, count],
    ),
    ...past,
  }
}

function addedUp([count, width]: number[], indices: BigInt64Array, gradients: Float32Array) {
  const table = new Float32Array(count * width)
  indices.forEach((index, i) => {
    for (let j = 0; j < width; j++) table[Number(index) * width + j] += gradients[i * width + j]
  })
  return table
}
