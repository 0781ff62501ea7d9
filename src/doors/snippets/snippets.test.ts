import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { Athanor } from '../../../client/src/index.ts'
import type { Version } from '../../registry/registry.ts'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { tinyClassifier, tinyGraph } from '../../testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../../testing/tiny-decoder.ts'
import { tinyEmbedder } from '../../testing/tiny-embedder.ts'
import { tinyEncoderBundle } from '../../testing/tiny-encoder.ts'
import { tinyVision } from '../../testing/tiny-vision.ts'
import { IMAGE } from '../hub.ts'
import { typedClient } from './typed-client.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../../', import.meta.url))
// below node_modules, so that a snippet finds the libraries that it imports
const folder = join(root, 'node_modules', '.cache', `athanor-snippets-${process.pid}`)
const typed = mkdtempSync(join(tmpdir(), 'athanor-typed-'))
let server: TestServer
let client: Athanor
before(async () => {
  mkdirSync(folder, { recursive: true })
  server = await startTestServer()
  client = new Athanor({ url: server.url })
  const { registry } = server.app.house
  const { manifest, files } = await tinyClassifier({ labels: ['a', "it's", 'c'] })
  await registry.register('tiny', manifest, files)
  const writer = tinyDecoder({ chatTemplate: '{% for m in messages %}{{ m.content }}{% endfor %}' })
  await registry.register('writer', writer.manifest, writer.files)
  await client.models.import('plain', tinyGraph())
  const see = tinyVision()
  await registry.register('see', see.manifest, see.files)
  const embedder = await tinyEmbedder()
  await registry.register('vectors', embedder.manifest, embedder.files)
  for (const [name, head, labels] of [
    ['fill', { task: 'fill-mask' }, []],
    ['mark', { task: 'token-classification', classes: 2 }, ['O', 'B-THING']],
  ] as const) {
    const { manifest, files } = tinyEncoderBundle(['what a lovely film'], head, [...labels], '<mask>')
    await registry.register(name, manifest, files)
  }
})
after(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
  rmSync(typed, { recursive: true, force: true })
})

const models = ['tiny', 'writer', 'plain', 'see', 'vectors', 'fill', 'mark']

test('every snippet of curl and TypeScript runs as it stands', async (t) => {
  const sdk = pathToFileURL(join(root, 'client/src/index.ts')).href
  const printed: unknown[] = []
  t.mock.method(console, 'log', (...values: unknown[]) => printed.push(...values))
  for (const model of models) {
    const snippets = await client.models.snippets(model)
    const doors = new Set(snippets.map(({ door }) => door))
    for (const door of ['native', 'oip', 'tfserving', 'mlflow', 'mcp']) assert.ok(doors.has(door), `${model}: ${door}`)
    for (const language of ['curl', 'typescript', 'python'])
      assert.ok(
        snippets.some((one) => one.language === language),
        `${model}: ${language}`,
      )
    for (const [i, { door, language, code }] of snippets.entries()) {
      if (language === 'python') continue // these run in test:peers
      const file = join(folder, `${model}-${i}.mjs`)
      if (language === 'typescript') {
        writeFileSync(file, code.replace("'athanor/client'", `'${sdk}'`))
        if (!code.includes('process.stdout')) {
          await import(pathToFileURL(file).href) // here: a process for each would take most of the time
          assert.notEqual(printed.pop() ?? '', '', `${model}, ${door}`)
          continue
        }
      }
      const [command, args] =
        language === 'curl' ? ['bash', ['-c', `${code} --fail-with-body`]] : [process.execPath, [file]]
      const { stdout } = await run(command, args).catch((error: Error & { stdout: string }) =>
        assert.fail(`${model}, ${door} ${language}: ${error.message} ${error.stdout}`),
      )
      assert.ok(stdout.length > 0 && !/"error"|"isError":true/.test(stdout), `${model}, ${door}: ${stdout}`)
    }
  }
})

test('a typed client is held to its types and answers', async () => {
  writeFileSync(join(typed, 'package.json'), '{"type":"module"}')
  for (const model of models) {
    writeFileSync(join(typed, `${model}.ts`), await client.models.typedClient(model))
  }
  writeFileSync(
    join(typed, 'use.ts'),
    `import { classify, type Label } from './tiny.ts'
import { run } from './plain.ts'
import { chat, generate } from './writer.ts'
import { classify as look } from './see.ts'
import { embed } from './vectors.ts'
import { fill } from './fill.ts'
import { mark } from './mark.ts'
const { label } = await classify('x')
const known: Label = label
// @ts-expect-error no such label
const unknown: Label = 'd'
const { y } = await run({ x: [[1, 2, 3]], n: [1] })
const first: number = y[0][0]
// @ts-expect-error an input is missing
run({ x: [[1, 2, 3]] })
// @ts-expect-error the wrong number of axes
run({ x: [1], n: [1] })
const { text } = await generate('hello', { maxTokens: 5, temperature: 0 })
const seen: 'dark' | 'light' = (await look('')).label
const width: number = (await embed('x')).length
const word: string = (await fill('x'))[0][0].token
const [{ start, label: kind }] = await mark('x')
const { finish } = await chat([{ role: 'user', content: 'x' }])
// @ts-expect-error no such role
chat([{ role: 'king', content: 'x' }])
console.log(known, first, text, unknown, seen, width, word, start, kind, finish)
`,
  )
  const flags = [
    '--ignoreConfig',
    '--noEmit',
    '--strict',
    '--target',
    'es2024',
    '--lib',
    'es2024,dom',
    '--module',
    'nodenext',
    '--allowImportingTsExtensions',
    '--types',
    '',
  ]
  const tsc = join(root, 'node_modules', '.bin', 'tsc')
  await run(tsc, [...flags, join(typed, 'use.ts')]).catch((error: Error & { stdout: string }) =>
    assert.fail(error.stdout),
  )

  const load = (model: string) => import(pathToFileURL(join(typed, `${model}.ts`)).href)
  const { classify } = (await load('tiny')) as { classify(text: string): Promise<{ label: string; score: number }> }
  assert.deepEqual(await classify('the fox'), (await client.predict('tiny', 'the fox'))[0])
  const { run: infer } = (await load('plain')) as { run(inputs: object): Promise<object> }
  assert.deepEqual(await infer({ x: [[1, 2, 3]], n: [1] }), { y: [[3, 5, 7]], m: [2] })
  await assert.rejects(infer({ x: [[1, 2]], n: [1] }), { code: 'TENSOR_INVALID' })
  const { generate } = (await load('writer')) as {
    generate(prompt: string, settings: object): Promise<{ text: string }>
  }
  assert.equal((await generate('hello', { maxTokens: 5, temperature: 0 })).text, tinyContinuation('hello', 5))
  const { embed } = (await load('vectors')) as { embed(text: string): Promise<number[]> }
  assert.deepEqual(await embed('the fox'), (await client.embed('vectors', ['the fox']))[0])
  const { fill } = (await load('fill')) as { fill(text: string): Promise<unknown> }
  const masked = 'what a <mask> film'
  assert.deepEqual(await fill(masked), (await client.fillMask('fill', [masked]))[0])
  const { mark } = (await load('mark')) as { mark(text: string): Promise<unknown> }
  assert.deepEqual(await mark('a film'), (await client.entities('mark', ['a film']))[0])
  const { classify: look } = (await load('see')) as { classify(image: string): Promise<{ label: string }> }
  assert.ok(['dark', 'light'].includes((await look(IMAGE)).label))
})

test('a typed client of a task of the hub is held to its inputs and parameters', () => {
  const version = { name: 'sorts', version: 1, manifest: { task: 'zero-shot-classification', labels: [] } }
  const code = typedClient(version as unknown as Version, server.url)
  assert.match(code, /candidate_labels: string\[\]/)
  assert.match(code, /multi_label\?: boolean/)
})
