import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { Athanor } from '../../../client/src/index.ts'
import { startTestServer, type TestServer } from '../../testing/server.ts'
import { tinyClassifier, tinyGraph } from '../../testing/tiny.ts'
import { tinyContinuation, tinyDecoder } from '../../testing/tiny-decoder.ts'

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
})
after(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
  rmSync(typed, { recursive: true, force: true })
})

test('every snippet of curl and TypeScript runs as it stands', async () => {
  const sdk = pathToFileURL(join(root, 'client/src/index.ts')).href
  for (const model of ['tiny', 'writer', 'plain']) {
    const snippets = await client.models.snippets(model)
    const doors = new Set(snippets.map(({ door }) => door))
    for (const door of ['native', 'oip', 'tfserving', 'mcp']) assert.ok(doors.has(door), `${model}: ${door}`)
    for (const [i, { door, language, code }] of snippets.entries()) {
      if (language === 'python') continue // these run in test:peers
      const file = join(folder, `${model}-${i}.mjs`)
      if (language === 'typescript') writeFileSync(file, code.replace("'athanor/client'", `'${sdk}'`))
      const [command, args] =
        language === 'curl' ? ['bash', ['-c', `${code} --fail-with-body`]] : [process.execPath, [file]]
      const { stdout } = await run(command, args).catch((error: Error & { stdout: string }) =>
        assert.fail(`${door} ${language}: ${error.message} ${error.stdout}`),
      )
      assert.ok(stdout.length > 0 && !/"error"|"isError":true/.test(stdout), `${door}: ${stdout}`)
    }
  }
})

test('a typed client is held to its types and answers', async () => {
  writeFileSync(join(typed, 'package.json'), '{"type":"module"}')
  for (const model of ['tiny', 'writer', 'plain']) {
    writeFileSync(join(typed, `${model}.ts`), await client.models.typedClient(model))
  }
  writeFileSync(
    join(typed, 'use.ts'),
    `import { classify, type Label } from './tiny.ts'
import { run } from './plain.ts'
import { generate } from './writer.ts'
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
console.log(known, first, text, unknown)
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
})
