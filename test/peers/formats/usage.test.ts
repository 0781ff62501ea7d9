// The programs in Python beside exports of every task and format, and those for llama.cpp, run as users run them. ATHANOR_PYTHON
// names a Python with any of onnxruntime, tensorflow-cpu, keras, transformers with torch, and with tokenizers, uniseg and pillow;
// ATHANOR_LLAMA a folder in whose node_modules node-llama-cpp is installed; ATHANOR_ENGINES the folder of engines on demand, with
// transformers.js.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { askedEncoders, askedVersions, difference, putExport } from '../../../src/testing/asked.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const has = (modules: string) => spawnSync(python, ['-c', `import ${modules}`], { stdio: 'ignore' }).status === 0
const llama = process.env.ATHANOR_LLAMA
const engine = join(process.env.ATHANOR_ENGINES ?? '', 'transformers')
const withoutScripts = existsSync(join(engine, 'node_modules/@huggingface/transformers'))
  ? false
  : 'transformers.js is not installed: athanor engines install transformers, and set ATHANOR_ENGINES to its folder'
const root = mkdtempSync(join(tmpdir(), 'athanor-usage-'))
after(() => rmSync(root, { recursive: true, force: true }))
const versions = await askedVersions(root)

/** What each format's program imports. */
const needs = {
  onnx: 'onnxruntime, tokenizers, uniseg, PIL',
  keras: 'keras, tensorflow, tokenizers, uniseg',
  'keras-h5': 'keras, tensorflow, tokenizers, uniseg',
  savedmodel: 'tensorflow, tokenizers, uniseg, PIL',
  tflite: 'tensorflow, tokenizers, uniseg, PIL',
  huggingface: 'transformers, torch',
}

/** What a program prints: a line of JSON for each argument. */
function printed(command: string, args: readonly string[]): unknown[] {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  assert.equal(status, 0, stderr.slice(-2000))
  const lines = stdout.trim().split('\n')
  return lines.filter((line) => /^["[{]/.test(line)).map((line) => JSON.parse(line) as unknown)
}

for (const [format, modules] of Object.entries(needs)) {
  const skip = has(modules) ? false : `${python} has not all of ${modules}; set ATHANOR_PYTHON`
  test(`usage.py beside ${format} answers as the server does`, { skip }, async (t) => {
    let [programs, largest] = [0, 0]
    for (const version of versions) {
      const { name, asked, answers, beyondPython = [] } = version
      const folder = join(root, name, format)
      if (!(await putExport(folder, version, format))?.includes('usage.py')) continue
      // transformers frames an empty text by itself, and decodes what a model writes by rules of its own
      const given = asked.filter((one) => !beyondPython.includes(one) && !(format === 'huggingface' && one === ''))
      const found = printed(python, [join(folder, 'usage.py'), ...given])
      assert.equal(found.length, given.length, name)
      given.forEach((one, i) => {
        const expected = answers[asked.indexOf(one)]
        const apart = difference(found[i], expected)
        const told = `${JSON.stringify(found[i])}, expected ${JSON.stringify(expected)}`
        assert.ok(apart <= 1e-5, `${name}, ${JSON.stringify(one)}: ${told}, apart ${apart}`)
        largest = Math.max(largest, apart)
      })
      for (const one of beyondPython.filter((one) => !one.endsWith('.png'))) {
        const { status, stderr } = spawnSync(python, [join(folder, 'usage.py'), one], { encoding: 'utf8' })
        assert.ok(status !== 0 && stderr.includes('dictionaries of ICU'), stderr)
      }
      programs++
    }
    t.diagnostic(`${programs} programs, largest difference ${largest.toExponential(1)}`)
    assert.ok(programs >= (format.startsWith('keras') ? 2 : 5), `${programs} programs`)
  })
}

test('words that Python finds are those that the server finds', {
  skip: !has('uniseg') && `${python} has no uniseg`,
}, () => {
  const texts = [
    `"It's 3.5 o'clock," she said (twice): e-mail me@example.com, £1,000.00!`,
    'naïve café — “déjà vu”… C++/C# & node.js; snake_case v2.0-rc1 http://a.b/c?d=e#f',
    'Привет, мир! Ça va? ¿Qué tal? Ελληνικά 한국어 문장입니다. שלום עולם مرحبا',
    'a\u0301b 1\u20442 x² ½ 🙂👍🏽👨‍👩‍👧 flag🇨🇳🇫🇷 5€ 100% #tag @user',
  ]
  const cut =
    'import json,sys\nfrom uniseg.wordbreak import words\nprint(json.dumps([[w for w in words(t) if w.strip()] for t in sys.argv[1:]]))'
  const [found] = printed(python, ['-c', cut, ...texts])
  const segmenter = new Intl.Segmenter('zh', { granularity: 'word' })
  const ours = texts.map((text) =>
    Array.from(segmenter.segment(text), ({ segment }) => segment).filter((one) => one.trim()),
  )
  assert.deepEqual(found, ours)
})

test('usage.ts beside huggingface answers as the server does', { skip: withoutScripts }, async (t) => {
  const encoders = [...(await askedEncoders('roberta')), ...(await askedEncoders('distilbert'))]
  let [programs, largest] = [0, 0]
  for (const version of [...versions, ...encoders]) {
    const folder = join(root, version.name, 'transformers.js')
    if (!(await putExport(folder, version, 'huggingface'))?.includes('usage.ts')) continue
    symlinkSync(join(engine, 'node_modules'), join(folder, 'node_modules'))
    // the library loses the token that ends a text where it cuts one, and frames an empty text by itself
    const given = version.asked.filter((one) => one !== '' && one.length < 200)
    const found = printed(process.execPath, [join(folder, 'usage.ts'), ...given])
    assert.equal(found.length, given.length, version.name)
    given.forEach((one, i) => {
      const expected = version.answers[version.asked.indexOf(one)]
      const apart = difference(found[i], expected)
      const told = `${JSON.stringify(found[i])}, expected ${JSON.stringify(expected)}`
      assert.ok(apart <= 1e-5, `${version.name}, ${JSON.stringify(one)}: ${told}, apart ${apart}`)
      largest = Math.max(largest, apart)
    })
    programs++
  }
  t.diagnostic(`${programs} programs, largest difference ${largest.toExponential(1)}`)
  assert.equal(programs, 14)
})

/** Asks the program beside each kind of GGUF; what is not rounded continues as the server does. */
async function continued(program: string, command: string) {
  const version = versions.find(({ name }) => name === 'llama')!
  for (const format of ['gguf-f32', 'gguf', 'gguf-q8_0', 'gguf-q4_0']) {
    const folder = join(root, `${format} ${program}`)
    await putExport(folder, version, format)
    if (llama) symlinkSync(join(llama, 'node_modules'), join(folder, 'node_modules'))
    const [text] = printed(command, [join(folder, program), version.asked[0]])
    assert.ok(typeof text === 'string' && text.length > 0, format)
    // bytes at the end that are no character yet are shown or not
    const whole = (one: unknown) => String(one).replace(/\ufffd+$/, '')
    if (format === 'gguf-f32') assert.equal(whole(text), whole(version.answers[0]))
  }
}

test('usage.ts beside GGUF continues a text by llama.cpp', { skip: !llama && 'ATHANOR_LLAMA is not set' }, () =>
  continued('usage.ts', process.execPath),
)

const readsGguf = has('torch, transformers, gguf, accelerate')
test(
  'usage.py beside GGUF continues a text by transformers',
  {
    skip: readsGguf ? false : `${python} has not all of torch, transformers, gguf, accelerate; set ATHANOR_PYTHON`,
  },
  () => continued('usage.py', python),
)
