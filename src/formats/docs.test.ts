import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { formats } from './formats.ts'
import { known } from './tensorflow/flow.ts'

const heads = {
  'docs/formats.md': '| `--format` | format | files | out | in |\n|---|---|---|---|---|',
  'docs/zh-CN/formats.md': '| `--format` | 格式 | 文件 | 导出 | 导入 |\n|---|---|---|---|---|',
}

test('the documentation’s table is the table of formats', () => {
  const rows = formats.map(
    (f) =>
      `| \`${f.name}\` | ${f.title} | ${f.files} | ${f.write || f.writeBundle ? 'yes. ' : ''}${f.out} | ${f.read || f.readBundle ? 'yes. ' : ''}${f.in} |`,
  )
  for (const [file, head] of Object.entries(heads)) {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
    const [, table] = /<!-- table -->\n([\s\S]*?)\n?<!-- \/table -->/.exec(text) ?? []
    assert.equal(table, [head, ...rows].join('\n'), `${file}: the table between the comments is out of date`)
  }
})

test('the documentation lists the TensorFlow operators that are read', () => {
  for (const file of Object.keys(heads)) {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
    const [, listed = ''] = /<!-- operators -->\n([\s\S]*?)\n<!-- \/operators -->/.exec(text) ?? []
    assert.equal(listed.replaceAll('\n', ' '), [...known].sort().join(', '), file)
  }
})
