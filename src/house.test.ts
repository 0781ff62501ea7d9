import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

/** The house: each room and the rooms it may import from (`base` always). This object is the diagram. */
const house: Record<string, readonly string[]> = {
  base: [],
  client: [],
  graph: [],
  store: [],
  access: ['store'],
  data: [],
  autograd: ['graph'],
  drift: ['data'],
  bundle: ['graph', 'data', 'store', 'drift'],
  nn: ['graph', 'autograd'],
  formats: ['graph', 'data', 'bundle', 'autograd', 'nn'],
  engine: ['graph', 'data', 'drift', 'bundle'],
  registry: ['store', 'bundle', 'graph'],
  train: ['data', 'graph', 'autograd', 'nn', 'drift', 'bundle', 'formats', 'store', 'registry', 'engine'],
  refine: ['graph', 'data', 'autograd', 'nn', 'drift', 'bundle', 'formats', 'store', 'registry', 'engine', 'train'],
  serve: ['graph', 'data', 'store', 'drift', 'bundle', 'engine', 'registry', 'train'],
  watch: ['graph', 'store', 'drift', 'bundle', 'engine'],
  doors: [
    'formats',
    'graph',
    'data',
    'bundle',
    'store',
    'registry',
    'engine',
    'train',
    'refine',
    'serve',
    'watch',
    'access',
  ],
  app: ['store', 'access', 'registry', 'engine', 'train', 'refine', 'serve', 'watch', 'doors'],
  testing: ['store', 'access', 'graph', 'data', 'autograd', 'nn', 'bundle', 'formats', 'engine', 'app'],
  cli: [
    'formats',
    'client',
    'registry',
    'app',
    'doors',
    'engine',
    'graph',
    'data',
    'bundle',
    'store',
    'train',
    'watch',
  ],
}

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const files = ['src', 'client/src'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.split(sep).includes('gen'))
    .map((file) => join(folder, file)),
)
const tests = files.filter((file) => file.endsWith('.test.ts'))
const sources = files.filter((file) => !tests.includes(file))
const text = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]))

/** `src/graph/codec.ts` → `graph`; `src/app.ts` → `app`; `client/src/index.ts` → `client`. */
function room(file: string): string {
  const [top, second] = file.split(sep)
  return top === 'client' ? 'client' : second.replace(/\.ts$/, '')
}

function* imports(file: string): Generator<string> {
  for (const [, target] of text.get(file)!.matchAll(/(?:from|import\(?)\s*['"](\.[^'"]+)['"]/g)) {
    yield relative(root, resolve(root, dirname(file), target))
  }
}

test('every room imports only from the rooms below it', () => {
  for (const file of sources) {
    const from = room(file)
    assert.ok(from in house, `${file} is in no room of the house`)
    for (const target of imports(file)) {
      const to = room(target)
      assert.ok(to === from || to === 'base' || house[from].includes(to), `${file} imports ${target}: ${from} → ${to}`)
    }
  }
})

test('the house has no cycles', () => {
  const floor = new Map<string, number>()
  const visit = (name: string, path: string[]): number => {
    assert.ok(!path.includes(name), `cycle: ${[...path, name].join(' → ')}`)
    const known = floor.get(name)
    if (known !== undefined) return known
    const height = Math.max(0, ...house[name].map((below) => visit(below, [...path, name]) + 1))
    floor.set(name, height)
    return height
  }
  for (const name of Object.keys(house)) visit(name, [])
})

test('onnxruntime comes through base, with its telemetry off', () => {
  for (const [file, source] of text)
    if (file !== join('src', 'base', 'onnxruntime.ts'))
      assert.doesNotMatch(source, /^import .*'onnxruntime-node'$/m, `${file} imports onnxruntime-node itself`)
})

test('every test that opens a house can open it in PostgreSQL and S3 (npm run test:stores)', () => {
  for (const file of tests) {
    const source = text.get(file)!
    if (file === join('src', 'house.test.ts') || !/\b(startApp|openStore)\(/.test(source)) continue
    assert.match(source, /testing\/(backends|server|tenants)\.ts'/, `${file} opens a house at a place of its own`)
  }
})

test('files stay short: median below 150 lines, none above 500 but tables', () => {
  const tables = new Set(['src/base/errors.ts', 'src/graph/operators.ts'])
  const lengths = sources.map((file) => ({ file, lines: text.get(file)!.split('\n').length }))
  const sorted = lengths.map(({ lines }) => lines).sort((a, b) => a - b)
  assert.ok(sorted[Math.floor(sorted.length / 2)] < 150, `median ${sorted[Math.floor(sorted.length / 2)]}`)
  for (const { file, lines } of lengths) assert.ok(lines <= 500 || tables.has(file), `${file} has ${lines} lines`)
})
