import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { commands } from './cli/commands.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (page: string) => readFileSync(join(root, page), 'utf8')
const pagesIn = (folder: string) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
const pages = ['README.md', 'README.zh-CN.md', 'CONTRIBUTING.md', ...pagesIn('docs'), ...pagesIn('examples')]

/** Options that every command takes. */
const everywhere = ['--json', '--quiet', '--url', '--tenant', '--help']

/** Lines of a page's blocks of code, and its code within sentences. */
function codeOf(text: string): string[] {
  const blocks = [...text.matchAll(/^ *```.*\n([\s\S]*?)^ *```/gm)].map(([, block]) => block.replaceAll('\\\n', ' '))
  const prose = text.replace(/^ *```.*\n[\s\S]*?^ *```/gm, '')
  return [
    ...blocks.flatMap((block) => block.split('\n')),
    ...[...prose.replaceAll('\\\n', ' ').matchAll(/^ {4}(.*)$|`([^`]+)`/gm)].map(([, line, span]) => line ?? span),
  ]
}

test('every command and option that documentation names is there', () => {
  let calls = 0
  for (const page of pages)
    for (const code of codeOf(read(page))) {
      const call = /(?:^|[\s`(])(?:athanor|npm run -s athanor --) ([a-z]+)([^#|\n]*)/.exec(code)
      if (!call) continue
      const [, word, rest] = call
      const entry = commands.find(({ name, aliases = [] }) => [name.split(' ')[0], ...aliases].includes(word))
      assert.ok(entry, `${page}: athanor ${word}`)
      const known = [...everywhere, ...(entry.options ?? []).map((option) => option().long)]
      for (const [flag] of rest.matchAll(/(?<=\s)--[a-z-]+/g))
        assert.ok(known.includes(flag), `${page}: athanor ${word} ${flag}`)
      calls++
    }
  assert.ok(calls > 200, `${calls} calls`)
})

test('the figures of the first page are those of the page that tells how they were measured', () => {
  const first = (page: string) =>
    [...read(page).matchAll(/^\|.*?([\d.,]+ : [\d.,]+.*)\|$/gm)].flatMap(([, cell]) => [
      ...cell.matchAll(/[\d.,]+ : [\d.,]+|[\d.]+(?=x| 倍)/g),
    ])
  for (const [page, measured] of [
    ['README.md', 'docs/performance.md'],
    ['README.zh-CN.md', 'docs/zh-CN/performance.md'],
  ] as const) {
    const figures = first(page).map(([figure]) => figure)
    assert.ok(figures.length > 10, page)
    // a row of the measured page may have each side in a cell of its own
    const text = read(measured)
    for (const figure of figures) {
      const [ours, theirs] = figure.split(' : ')
      const there = text.split('\n').some((line) => line.includes(ours) && line.includes(theirs ?? ours))
      assert.ok(there, `${page}: ${figure} is not in ${measured}`)
    }
  }
})

test('every dependency has its reason, and no reason is left of one that is gone', () => {
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  const kinds = ['dependencies', 'optionalDependencies', 'peerDependencies', 'devDependencies']
  const wanted = new Set(kinds.flatMap((kind) => Object.keys(manifest[kind])))
  const [, section] = read('ARCHITECTURE.md').split('## Dependencies\n')
  const rows = [...section.matchAll(/^\| (`.+?) \| (.{10,}) \|$/gm)]
  const named = rows.flatMap(([, names]) => [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => name))
  const onDemand = ['node-llama-cpp', '@huggingface/transformers']
  assert.deepEqual(named.sort(), [...wanted, ...onDemand].sort())
})
