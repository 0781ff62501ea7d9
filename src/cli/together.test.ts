import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { variablesAt } from '../testing/backends.ts'
import { tinyGraph } from '../testing/tiny.ts'

// Commands on one data folder without a server that stays: the first one's is used by all, until it ends or is killed.

const root = mkdtempSync(join(tmpdir(), 'athanor-together-'))
after(() => rmSync(root, { recursive: true, force: true }))
const bin = fileURLToPath(new URL('../../bin/athanor.js', import.meta.url))
const data = join(root, 'films.csv')
const rows = Array.from({ length: 60 }, (_, i) =>
  i % 2 ? `a lovely film ${i},good` : `an awful waste of ${i} hours,bad`,
)
writeFileSync(data, `text,label\n${rows.join('\n')}\n`)

type Running = ChildProcess & { ended: Promise<{ code: number | null; out: string; err: string }> }

async function start(home: string, ...args: string[]): Promise<Running> {
  const child = spawn(process.execPath, [bin, ...args, '--json'], {
    cwd: root,
    env: { ...process.env, CI: '1', ...(await variablesAt(home)) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = Promise.all([once(child, 'close'), text(child.stdout!), text(child.stderr!)])
  return Object.assign(child, { ended: ended.then(([[code], out, err]) => ({ code, out, err })) })
}

/** Trains for so many passes over the data, whatever they are worth. */
const train = (home: string, name: string, epochs: number) => {
  const options = { width: 8, hidden: 8, batchSize: 8, minimumCount: 1, epochs, patience: epochs }
  const settings = Object.entries(options).flatMap(([option, value]) => ['--set', `${option}=${value}`])
  return start(home, 'train', data, '--name', name, ...settings)
}

interface Told {
  run: string
  state: string
}

/** Waits for the server that a command brought to tell of a run in such a state. */
async function told(home: string, command: Running, wanted: string, state: RegExp): Promise<{ pid: number }> {
  for (;;) {
    if (command.exitCode !== null) throw new Error(`it ended: ${JSON.stringify(await command.ended)}`)
    try {
      const info = JSON.parse(readFileSync(join(home, 'server.json'), 'utf8')) as { url: string; pid: number }
      const { runs } = (await (await fetch(`${info.url}/api/runs`)).json()) as { runs: Told[] }
      if (runs.some((one) => one.run === wanted && state.test(one.state))) return info
    } catch {
      // it is not there yet
    }
    await setTimeout(20)
  }
}

async function statesAt(home: string) {
  const { runs } = JSON.parse((await (await start(home, 'ps', '--all')).ended).out) as { runs: Told[] }
  return Object.fromEntries(runs.map(({ run, state }) => [run, state]))
}

test('a command goes on when the one whose server it used has ended; one that is killed stops nobody else', async () => {
  const home = join(root, 'ends')
  const first = await train(home, 'first', 100)
  const { pid } = await told(home, first, 'first-1', /training/)
  assert.equal(pid, first.pid)
  const second = await train(home, 'second', 9)
  const killed = await train(home, 'killed', 9)
  await told(home, second, 'second-1', /queued/)
  await told(home, killed, 'killed-1', /queued/)
  killed.kill('SIGKILL')
  for (const [name, command] of Object.entries({ first, second })) {
    const { code, out, err } = await command.ended
    assert.equal(code, 0, `${name}: ${out}${err}`)
    assert.equal((JSON.parse(out) as { model: string }).model, name)
  }
  assert.deepEqual(await statesAt(home), { 'first-1': 'done', 'second-1': 'done', 'killed-1': 'interrupted' })
})

test('a command whose server is killed brings its own and finishes; what the killed one did can be gone on with', async () => {
  const home = join(root, 'killed')
  const long = await train(home, 'long', 9_000)
  await told(home, long, 'long-1', /training/)
  const short = await train(home, 'short', 9)
  await told(home, short, 'short-1', /queued/)
  long.kill('SIGKILL')
  const { code, out, err } = await short.ended
  assert.equal(code, 0, out + err)
  assert.deepEqual(await statesAt(home), { 'long-1': 'interrupted', 'short-1': 'done' })
})

test('what a command that was killed was writing for a while is gone with the next', async () => {
  const home = join(root, 'temporary')
  const model = join(root, 'plain.onnx')
  writeFileSync(model, tinyGraph())
  const importing = await start(home, 'import', model)
  const left = () => (existsSync(join(home, 'tmp')) ? readdirSync(join(home, 'tmp')) : [])
  while (!left().some((name) => name.startsWith('athanor-convert-'))) {
    if (importing.exitCode !== null) throw new Error(`it ended: ${JSON.stringify(await importing.ended)}`)
    await setTimeout(1)
  }
  importing.kill('SIGKILL')
  await importing.ended
  assert.ok(left().length > 0)
  assert.equal((await (await start(home, 'models')).ended).code, 0)
  assert.deepEqual(left(), [])
})
