// Formats against their own readers and writers. Needs Python with tensorflow-cpu (or tensorflow), keras 3, onnx
// and onnxruntime: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { formats, type WriteOptions } from '../../../src/formats/formats.ts'
import { sourceOf } from '../../../src/formats/source.ts'
import { writeModel } from '../../../src/graph/codec.ts'
import { madeRows, madeVariants } from '../../../src/testing/variants.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import tensorflow, keras, onnx, onnxruntime'], { stdio: 'ignore' }).status === 0
const skip = there ? false : `${python} has no tensorflow, keras, onnx and onnxruntime; set ATHANOR_PYTHON`
const script = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'athanor-formats-'))
after(() => rmSync(root, { recursive: true, force: true }))
const format = (name: string) => formats.find((one) => one.name === name)!

interface Golden {
  shape: number[]
  data: number[]
}

test('what is exported, the formats’ own readers load and compute alike', { skip }, async (t) => {
  const folder = join(root, 'exports')
  for (const made of await madeVariants()) {
    const { ids, lengths } = madeRows(40)
    const session = await ort.InferenceSession.create(writeModel(made.model), { logSeverityLevel: 3 })
    const { probabilities } = await session.run({
      ids: new ort.Tensor('int64', BigInt64Array.from(ids.flat(), BigInt), [ids.length, ids[0].length]),
      lengths: new ort.Tensor('int64', BigInt64Array.from(lengths, BigInt), [lengths.length]),
    })
    const flat = Array.from(probabilities.data as Float32Array)
    const classes = made.manifest.labels.length
    const rows = { ids, lengths, probabilities: lengths.map((_, i) => flat.slice(i * classes, (i + 1) * classes)) }
    mkdirSync(join(folder, made.name), { recursive: true })
    writeFileSync(join(folder, made.name, 'rows.json'), JSON.stringify(rows))
    const jobs: [string, string, WriteOptions][] = formats
      .filter(({ write }) => write)
      .map(({ name }) => [name, name, {}])
    jobs.push(['onnx+13', 'onnx', { opset: 13 }], ['onnx+data', 'onnx', { opset: 17, externalData: true }])
    for (const [into, name, options] of jobs) {
      const files = await format(name).write!(made, options).catch((error) => {
        assert.equal(error.code, 'UNSUPPORTED', String(error))
        return {}
      })
      for (const [file, content] of Object.entries(files)) {
        const path = join(folder, made.name, into, file)
        mkdirSync(dirname(path), { recursive: true })
        writeFileSync(path, content)
      }
    }
  }
  const output = execFileSync(python, [script('check_exports.py'), folder], { stdio: ['ignore', 'pipe', 'ignore'] })
  const results = JSON.parse(String(output)) as Record<string, number | string>
  assert.ok(Object.keys(results).length > 40)
  const largest: Record<string, number> = {}
  for (const [name, difference] of Object.entries(results)) {
    assert.ok(typeof difference === 'number' && difference <= 1e-5, `${name}: ${difference}`)
    const kind = name.split(/[/+]/)[1]
    largest[kind] = Math.max(largest[kind] ?? 0, difference)
  }
  t.diagnostic(`${Object.keys(results).length} exports, largest differences ${JSON.stringify(largest)}`)
})

test('Keras models of many kinds are read as Keras computes them, from each of its formats', { skip }, async (t) => {
  const folder = join(root, 'keras')
  execFileSync(python, [script('keras_models.py'), folder], { stdio: 'ignore' })
  const goldens = readdirSync(folder).filter((file) => file.endsWith('.json'))
  assert.ok(goldens.length >= 17)
  const largest: Record<string, number> = {}
  for (const file of goldens) {
    const golden = JSON.parse(readFileSync(join(folder, file), 'utf8')) as { inputs: Golden[]; outputs: Golden[] }
    for (const [name, ending] of [
      ['keras', '.keras'],
      ['keras-h5', '.h5'],
      ['savedmodel', '.saved'],
    ]) {
      const path = join(folder, file.replace('.json', ending))
      assert.ok(existsSync(path))
      const files = ending === '.saved' ? filesIn(path) : { [`model${ending}`]: readFileSync(path) }
      const read = async () => format(name).read!(sourceOf(files))
      if (ending === '.saved' && file === 'branches.json') {
        await assert.rejects(read, { code: 'UNSUPPORTED', message: /BatchToSpaceND, SpaceToBatchND/ })
        continue
      }
      const apart = await compare(writeModel((await read()).model), golden, `${file} ${name}`)
      largest[name] = Math.max(largest[name] ?? 0, apart)
    }
  }
  t.diagnostic(`${goldens.length} models, largest relative differences ${JSON.stringify(largest)}`)
})

const filesIn = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(join(folder, name)).isFile())
      .map((name) => [name, readFileSync(join(folder, name))]),
  )

/** The largest difference of any output, relative to values above 1. */
async function compare(bytes: Uint8Array, golden: { inputs: Golden[]; outputs: Golden[] }, what: string) {
  let largest = 0
  const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 })
  const feeds: Record<string, ort.Tensor> = {}
  session.inputMetadata.forEach((input, i) => {
    const { shape, data } = golden.inputs[i]
    const type = input.isTensor ? input.type : ''
    if (type === 'int64') feeds[input.name] = new ort.Tensor('int64', BigInt64Array.from(data, BigInt), shape)
    else if (type === 'int32') feeds[input.name] = new ort.Tensor('int32', Int32Array.from(data), shape)
    else feeds[input.name] = new ort.Tensor('float32', Float32Array.from(data), shape)
  })
  const outputs = await session.run(feeds)
  session.outputNames.forEach((name, i) => {
    const expected = golden.outputs[i]
    assert.deepEqual([...outputs[name].dims], expected.shape, what)
    ;(outputs[name].data as Float32Array).forEach((value, j) => {
      const apart = Math.abs(value - expected.data[j]) / Math.max(1, Math.abs(expected.data[j]))
      assert.ok(apart <= 1e-5, `${what}: ${value}, Keras ${expected.data[j]}`)
      largest = Math.max(largest, apart)
    })
  })
  return largest
}
