// The example of a Keras model, as its README says it: trained by real Keras, served, then natively, and back into Keras. Needs
// Python with tensorflow-cpu (or tensorflow), keras 3 and tokenizers: ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import tensorflow, keras, tokenizers'], { stdio: 'ignore' }).status === 0
const skip = there ? false : `${python} has no tensorflow, keras and tokenizers; set ATHANOR_PYTHON`
const project = fileURLToPath(new URL('../../../', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'athanor-example-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** The commands of a README, a line that ends with `\` joined with the next. */
const commands = (readme: string) =>
  [...readme.matchAll(/```\n([\s\S]*?)```/g)].flatMap(([, block]) =>
    block
      .replaceAll(/\\\n\s*/g, '')
      .trim()
      .split('\n')
      .map((line) => line.split(' ')),
  )

function run([program, ...args]: string[]): string {
  const [file, first] = program === 'athanor' ? [process.execPath, [join(project, 'bin/athanor.js')]] : [python, []]
  const json = args[0] === 'run' ? ['--json'] : []
  return execFileSync(file, [...first, ...args, ...json], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ATHANOR_HOME: join(root, 'home') },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
}

/** The probability of `good` in what `athanor run` or a program of an export prints. */
function good(output: string): number {
  const answer = JSON.parse(output.trim()) as { label: string; score: number }[] | Record<string, number>
  if (!Array.isArray(answer)) return answer.good
  const [{ label, score }] = answer
  return label === 'good' ? score : 1 - score
}

test('the Keras example does what its README says, in both languages', { skip }, () => {
  const place = join(root, 'examples/keras')
  mkdirSync(place, { recursive: true })
  const [english, chinese] = ['README.md', 'README.zh-CN.md'].map((name) =>
    commands(readFileSync(join(project, 'examples/keras', name), 'utf8')),
  )
  assert.deepEqual(chinese, english)
  cpSync(join(project, 'examples/keras'), place, { recursive: true })
  run(['python', 'examples/keras/train.py', 'examples/keras']) // a new model.h5, not the one that is kept here
  const { texts, probabilities } = JSON.parse(readFileSync(join(place, 'expected.json'), 'utf8'))
  const near = (a: number, b: number, what: string) =>
    assert.ok(Math.abs(a - b) <= 1e-5, `${what}: ${a}, expected ${b}`)

  const [imported, asked, trained, native, exported, keras] = english
  assert.ok(run(imported).includes('reviews@1'))
  assert.equal(asked.at(-1), texts[0])
  near(good(run(asked)), probabilities[0], 'the imported model')
  run(trained)
  const probability = good(run(native))
  run(exported)
  near(good(run(keras)), probability, 'what real Keras says of the exported model')
})
