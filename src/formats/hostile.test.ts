import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { create, toBinary } from '@bufbuild/protobuf'
import { strToU8, zipSync } from 'fflate'
import { pack } from 'tar-stream'
import { AthanorError, type ErrorCode } from '../base/errors.ts'
import { TextCodec } from '../data/codec.ts'
import { openImages } from '../data/images/source.ts'
import { PublishedTokenizer } from '../data/published.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import { TensorProto_DataLocation as Location, StringStringEntryProtoSchema } from '../graph/gen/onnx_pb.js'
import { goldenSavedModels } from '../testing/savedmodels.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { madeVariants } from '../testing/variants.ts'
import { readGguf, writeGguf } from './gguf/file.ts'
import { importBundle } from './import.ts'
import { writeHdf5 } from './keras/hdf5-write.ts'
import { type Files, sourceOf } from './source.ts'
import { SavedModelSchema } from './tensorflow/gen/tensorflow_pb.js'

const [made] = await madeVariants()
const refused = async (files: Files, expected: ErrorCode, part: string, format?: string) => {
  const read = async () => importBundle(sourceOf(files), format ? { format } : {})
  await assert.rejects(read(), (error: unknown) => {
    assert.ok(error instanceof AthanorError, String((error as Error)?.stack))
    assert.equal(error.code, expected, error.message)
    assert.ok(`${error.message} ${error.hint}`.includes(part), `${error.message} ${error.hint} does not say ${part}`)
    return true
  })
}
const json = (value: unknown) => strToU8(JSON.stringify(value))

/** A model one of whose tensors is said to be elsewhere. */
function external(entries: Record<string, string>, ...more: [string, string][]) {
  const model = readModel(writeModel(made.model))
  const tensor = model.graph!.initializer.find(({ name }) => name === 'embedding/weight')!
  tensor.rawData = new Uint8Array()
  tensor.dataLocation = Location.EXTERNAL
  tensor.externalData = [...Object.entries(entries), ...more].map(([key, value]) =>
    create(StringStringEntryProtoSchema, { key, value }),
  )
  return writeModel(model)
}

test('ONNX external data stays among the files given (CVE-2022-25882, -2024-27318, -2026-27489, GHSA-538c)', async () => {
  const data = new Uint8Array(100)
  const cases: [Record<string, string>, string, ...[string, string][]][] = [
    [{ location: '../../etc/passwd' }, 'was not given'],
    [{ location: 'a/../../etc/passwd' }, 'was not given'],
    [{ location: '/etc/passwd' }, 'was not given'],
    [{ location: 'w.data', offset: '-4' }, 'not a whole number'],
    [{ location: 'w.data', length: '1152921504606846976' }, 'not a whole number'],
    [{ location: 'w.data', offset: '96', length: '8' }, 'of a file of 100 bytes'],
    [{ location: 'w.data', length: '4', __class__: 'x' }, 'unknown entry'],
    [{ location: 'w.data' }, 'two entries', ['location', 'w.data']],
    [{ location: 'w.data', length: '96' }, 'asks for'],
  ]
  for (const [entries, part, ...more] of cases)
    await refused({ 'm.onnx': external(entries, ...more), 'w.data': data }, 'MODEL_INVALID', part)
})

test('file names lead nowhere (MLflow’s, tar’s and zip’s traversals)', async () => {
  for (const name of ['../a', 'a/../../b', '/etc/passwd', 'a\\..\\b', 'C:/x', 'a//b', 'a\u0000b', '.', ''])
    await refused({ [name]: new Uint8Array(4) }, 'FORMAT_INVALID', 'plain relative')
  const archive = zipSync({ '../config.json': strToU8('{}'), 'model.weights.h5': strToU8('x') })
  await refused({ 'm.keras': archive }, 'FORMAT_INVALID', 'plain relative')
})

test('Python pickles are refused by content, whatever their name (CVE-2025-32434 and its kin)', async () => {
  const pickle = Uint8Array.of(0x80, 4, 0x95, 3, 0, 0, 0, 0, 0, 0, 0, 0x4e, 0x2e)
  const torch = zipSync({ 'archive/data.pkl': pickle, 'archive/version': strToU8('3') })
  for (const [name, bytes] of [
    ['model.pt', torch],
    ['model.keras', torch],
    ['weights.h5', pickle],
    ['model.onnx', Uint8Array.of(0x80, 2, 0x4e, 0x2e)],
    ['model.bin', strToU8('cos\nsystem\n(S"id"\ntR.')],
    ['a.npy', Uint8Array.of(0x93, ...strToU8(`NUMPY\u0001\u0000v\u0000{'descr': '|O', 'fortran_order': False}`))],
  ] as const)
    await refused({ [name]: bytes }, 'UNSUPPORTED', 'safetensors')
})

const layer = (className: string, config: object, more: object = {}) => ({ class_name: className, config, ...more })
const dense = { name: 'd', units: 1, activation: 'linear' }
const sequential = (...layers: object[]) => layer('Sequential', { name: 's', layers })
const input = layer('InputLayer', { name: 'i', batch_input_shape: [null, 2] })
const h5 = async (config: unknown) => ({
  'm.h5': await writeHdf5({ attributes: { model_config: JSON.stringify(config), keras_version: '3.0.0' } }),
})

test('Keras code is never run: Lambda, custom objects and modules are refused by name (CVE-2024-3660, -2025-1550, -9905)', async () => {
  const lambda = layer('Lambda', { name: 'evil', function: ['4wEAAAA=', null, null] })
  await refused(await h5(sequential(input, lambda)), 'UNSUPPORTED', 'Lambda "evil"')
  const archive = { 'config.json': json(sequential(input, lambda)), 'model.weights.h5': await writeHdf5({}) }
  await refused({ 'm.keras': zipSync(archive) }, 'UNSUPPORTED', 'never run')
  await refused(
    await h5(sequential(input, layer('Dense', dense, { module: 'os', registered_name: 'x' }))),
    'UNSUPPORTED',
    'custom object Dense',
  )
  await refused(await h5(layer('function', {}, { module: 'builtins' })), 'UNSUPPORTED', 'custom object')
  await refused(
    await h5(sequential(input, layer('Dense', dense, { registered_name: 'my>Dense' }))),
    'UNSUPPORTED',
    'custom',
  )
  await refused(await h5(sequential(input, layer('constructor', { name: 'c' }))), 'UNSUPPORTED', 'constructor')
  const activation = { ...dense, activation: layer('function', {}, { module: 'os' }) }
  await refused(await h5(sequential(input, layer('Dense', activation))), 'FORMAT_INVALID', 'no weights')
})

test('documents and archives are bounded before they are read', async () => {
  const deep = `${'['.repeat(200)}${']'.repeat(200)}`
  await refused({ 'm.h5': await writeHdf5({ attributes: { model_config: deep } }) }, 'FORMAT_INVALID', 'nested deeper')
  const bomb = zipSync({ 'config.json': new Uint8Array(64 << 20), 'model.weights.h5': strToU8('x') }, { level: 9 })
  await refused({ 'm.keras': bomb }, 'FORMAT_INVALID', 'far more than its size')
  await refused({ 'm.keras': bomb.subarray(0, bomb.length - 30) }, 'FORMAT_INVALID', 'zip archive')
  const cycle = layer('Functional', {
    name: 'f',
    layers: [
      input,
      layer(
        'Add',
        { name: 'a' },
        {
          inbound_nodes: [
            [
              ['a', 0, 0],
              ['i', 0, 0],
            ],
          ],
        },
      ),
    ],
    input_layers: [['i', 0, 0]],
    output_layers: [['a', 0, 0]],
  })
  await refused(await h5(cycle), 'FORMAT_INVALID', 'feeds itself')
  await refused(
    await h5(
      sequential(
        layer('InputLayer', { name: 'i', batch_input_shape: [null, 2 ** 40, 2 ** 40] }),
        layer('Flatten', { name: 'f' }),
      ),
    ),
    'UNSUPPORTED',
    '',
  ).catch(() => undefined)
})

test('TensorFlow.js weights lie within their files', async () => {
  const document = (weights: object[], paths = ['w.bin']) => ({
    'model.json': json({
      format: 'layers-model',
      modelTopology: { model_config: sequential(input, layer('Dense', dense)) },
      weightsManifest: [{ paths, weights }],
    }),
    'w.bin': new Uint8Array(8),
  })
  const weight = (shape: unknown[], more: object = {}) => ({ name: 'd/kernel', shape, dtype: 'float32', ...more })
  await refused(document([weight([2 ** 31, 2 ** 31])]), 'MODEL_INVALID', 'claims the shape')
  await refused(document([weight([-1])]), 'MODEL_INVALID', 'claims the shape')
  await refused(document([weight([3])]), 'FORMAT_INVALID', 'beyond its file')
  await refused(document([weight([1])]), 'FORMAT_INVALID', 'instead of 4')
  await refused(document([weight([2], { dtype: 'string' })]), 'FORMAT_INVALID', 'the type string')
  await refused(document([weight([2])], ['../w.bin']), 'FORMAT_INVALID', 'plain relative')
  await refused(document([weight([2])], ['x.bin']), 'FORMAT_INVALID', 'was not given')
})

/** A SavedModel of these operators one after another. */
function savedModel(...ops: string[]) {
  const shape = { dim: [{ size: -1n }, { size: 2n }] }
  const of = (name: string) => ({ name: `${name}:0`, dtype: 1, tensorShape: shape })
  const node = [
    { name: 'x', op: 'Placeholder' },
    ...ops.map((op, i) => ({ name: `n${i}`, op, input: [i === 0 ? 'x' : `n${i - 1}`] })),
  ]
  const signature = { inputs: { x: of('x') }, outputs: { y: of(`n${ops.length - 1}`) } }
  const metaGraphs = [
    { metaInfoDef: { tags: ['serve'] }, graphDef: { node }, signatureDef: { serving_default: signature } },
  ]
  return { 'saved_model.pb': toBinary(SavedModelSchema, create(SavedModelSchema, { metaGraphs })) }
}

test('TensorFlow operators that read files or run code are refused by name, all at once (CVE-2024-3660’s kin)', async () => {
  await refused(savedModel('ReadFile', 'Relu', 'PyFunc', 'WriteFile'), 'UNSUPPORTED', 'PyFunc, ReadFile, WriteFile')
  await refused(savedModel('constructor'), 'UNSUPPORTED', 'constructor')
  const cut = savedModel('Relu')['saved_model.pb']
  await refused({ 'saved_model.pb': cut.subarray(0, cut.length - 3) }, 'FORMAT_INVALID', 'TensorFlow')
})

test('checkpoints lie within their files (CVE-2026-7482’s kin)', async () => {
  const { files } = goldenSavedModels().conv
  const [index, data] = ['variables/variables.index', 'variables/variables.data-00000-of-00001']
  await refused({ ...files, [data]: files[data].subarray(0, 500) }, 'FORMAT_INVALID', 'lies beyond its file')
  await refused({ ...files, [index]: files[index].subarray(1) }, 'UNSUPPORTED', 'compressed')
  await refused({ ...files, [index]: files[index].subarray(0, 40) }, 'FORMAT_INVALID', 'not a table')
  const { [data]: _, ...without } = files
  await refused(without, 'FORMAT_INVALID', 'was not given')
})

test('GGUF tensors lie within their file, whatever is declared (CVE-2026-7482, -2025-53630, -2026-27940)', () => {
  const name = 'tensor'
  const bytes = writeGguf({}, { [name]: { dims: [4], type: 'f32', data: new Float32Array(4) } })
  const place = Buffer.from(bytes).indexOf(name) + name.length // rank u32, size u64, type u32, offset u64
  const changed = (at: number, value: bigint) => {
    const copy = Buffer.from(bytes)
    copy.writeBigUint64LE(value, place + at)
    return () => readGguf(copy).tensors.get(name)!.read()
  }
  for (const value of [1n << 20n, 2n ** 40n, 2n ** 62n, 2n ** 64n - 1n]) {
    assert.throws(changed(4, value), { code: 'FORMAT_INVALID' }, `size ${value}`)
    assert.throws(changed(16, value), { code: 'FORMAT_INVALID' }, `offset ${value}`)
  }
})

test('formats that are written but not read are named as such', async () => {
  await refused({ x: new Uint8Array(9) }, 'UNSUPPORTED', 'TensorFlow Lite', 'tflite')
})

test('a tokenizer.json whose template names tokens that it does not describe is refused: its library would end the process', () => {
  const { tokenizerJson } = tinyEncoder(['sun and rain'])
  const changes: [string, string][] = [
    ['"special_tokens":{"[CLS]"', '"special_tokens":{"[CLR]"'],
    ['"ids":[3]', '"ids":3'],
    ['"tokens":["[SEP]"]', '"tokens":[]'],
  ]
  for (const [from, to] of changes) {
    assert.ok(tokenizerJson.includes(from), from)
    const json = tokenizerJson.replace(from, to)
    assert.throws(() => new PublishedTokenizer(json, { maxLength: 8 }), { code: 'BUNDLE_INVALID' })
    assert.throws(() => TextCodec.load(json), { code: 'BUNDLE_INVALID' })
  }
})

test('links and names that lead elsewhere in a tar of images are never followed (CVE-2024-5187, -2024-7776)', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-tar-'))
  try {
    writeFileSync(join(folder, 'secret.png'), 'secret')
    const archive = pack()
    archive.entry({ name: 'cat/1.png' }, 'a cat')
    for (const type of ['symlink', 'link'] as const)
      archive.entry({ name: `cat/${type}.png`, type, linkname: join(folder, 'secret.png') })
    archive.entry({ name: '../../../tmp/athanor-escaped/2.png' }, 'a dog')
    archive.finalize()
    const path = join(folder, 'images.tar')
    writeFileSync(path, new Uint8Array(await new Response(archive as unknown as ReadableStream).arrayBuffer()))
    const contents: string[] = []
    const opened = await openImages(path)
    for await (const { content } of opened.images()) contents.push(Buffer.from(content as Uint8Array).toString())
    assert.ok(contents.includes('a cat') && !contents.includes('secret'), String(contents))
    assert.deepEqual(readdirSync(folder).sort(), ['images.tar', 'secret.png'])
    assert.equal(existsSync('/tmp/athanor-escaped'), false)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
