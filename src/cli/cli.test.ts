import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Manifest } from '../bundle/manifest.ts'
import { writeFolder } from '../formats/huggingface/write.ts'
import { lockHome } from '../store/home.ts'
import { variablesAt } from '../testing/backends.ts'
import { startHub } from '../testing/hub-server.ts'
import { tinyGraph } from '../testing/tiny.ts'
import { tinyEncoder } from '../testing/tiny-encoder.ts'
import { commands } from './commands.ts'
import { tableLines, widthOf, wrap } from './layout.ts'

const root = mkdtempSync(join(tmpdir(), 'athanor-cli-'))
const bin = fileURLToPath(new URL('../../bin/athanor.js', import.meta.url))
const main = join(root, 'home')

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}
const start = (...args: string[]) => startIn(main, ...args)
const startIn = (home: string, ...args: string[]) => startWith(home, '', ...args)
/** A command on a data folder, with something on its standard input. */
async function startWith(
  home: string,
  input: string,
  ...args: string[]
): Promise<ChildProcess & { ended: Promise<Ended> }> {
  const child = spawn(process.execPath, [bin, ...args], {
    cwd: root,
    env: { ...process.env, CI: '1', ...(await variablesAt(home)) },
    stdio: 'pipe',
  })
  child.stdin.end(input)
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (piece) => {
    stdout += piece
  })
  child.stderr.on('data', (piece) => {
    stderr += piece
  })
  return Object.assign(child, {
    ended: once(child, 'close').then(([code]) => ({ code: code as number | null, stdout, stderr })),
  })
}
const athanor = async (...args: string[]) => (await start(...args)).ended

// one server for all: without it every command would start one of its own
let server: Awaited<ReturnType<typeof start>>
let info: { url: string; pid: number }
before(async () => {
  server = await start('serve', '--port', '0', '--json')
  const [line] = (await once(server.stdout!, 'data')) as [Buffer]
  info = JSON.parse(String(line))
})
after(async () => {
  server.kill('SIGTERM')
  assert.equal((await server.ended).code, 0)
  rmSync(root, { recursive: true, force: true })
})

const data = join(root, 'films.csv')
writeFileSync(
  data,
  `text,label\n${Array.from({ length: 60 }, (_, i) => (i % 2 ? `a lovely film number ${i},good` : `an awful waste of ${i} hours,bad`)).join('\n')}\n`,
)
const small = ['width=16', 'hidden=16', 'epochs=10', 'batchSize=8', 'learningRate=0.02', 'minimumCount=1'].flatMap(
  (setting) => ['--set', setting],
)

test('train, evaluate, run, models, show, rm: the documents that scripts rely on', async () => {
  const trained = await athanor('train', data, '--json', '--seed', '2', ...small)
  assert.equal(trained.code, 0, trained.stdout + trained.stderr)
  const result = JSON.parse(trained.stdout) as {
    model: string
    version: number
    family: string
    metrics: { accuracy: number }
    seconds: number
  }
  assert.deepEqual([result.model, result.version, result.family], ['films', 1, 'lstm'])
  assert.ok(result.metrics.accuracy > 0.9 && result.seconds > 0)

  const evaluated = JSON.parse((await athanor('evaluate', 'films', data, '--json')).stdout) as {
    metrics: Record<string, number>
    rows: number
  }
  assert.ok(evaluated.metrics.accuracy > 0.9 && evaluated.metrics.macroF1 > 0.9 && evaluated.rows === 60)

  const answers = JSON.parse((await athanor('run', 'films', 'a lovely film', 'an awful waste', '--json')).stdout) as {
    label: string
    score: number
  }[]
  assert.deepEqual(
    answers.map(({ label }) => label),
    ['good', 'bad'],
  )

  const plain = await athanor('run', 'films', 'a lovely film')
  assert.match(plain.stdout, /^good 0\.\d+/)
  assert.ok(
    !(trained.stderr + plain.stdout + plain.stderr).includes(String.fromCharCode(27)),
    'no escape codes outside a terminal',
  )

  assert.equal((JSON.parse((await athanor('models', '--json')).stdout) as unknown[]).length, 1)
  assert.match((await athanor('show', 'films')).stdout, /labels\s+bad, good/)
  const graph = await athanor('show', 'films', '--graph')
  assert.match(graph.stdout, /%logits: float32\[batch, 2\]/)
  assert.match(graph.stdout, /LSTM\(/)
  assert.equal((await athanor('alias', 'films', 'champion', '1')).code, 0)
  assert.equal((await athanor('rm', 'films@champion', '--yes')).code, 0)
  assert.equal((await athanor('run', 'films', 'x', '--json')).code, 1)
})

test('an ONNX file is imported and printed', async () => {
  const file = join(root, 'plain.onnx')
  writeFileSync(file, tinyGraph())
  assert.match((await athanor('show', file, '--graph')).stdout, /%y: float32\[rows, 3\] = Identity|Add\(/)
  assert.equal((await athanor('import', file)).stdout, 'plain@1\n')
  writeFileSync(file, 'not a model')
  const refused = await athanor('import', file, '--name', 'bad')
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /MODEL_INVALID/)
  // from a package; not through links
  const published = join(root, 'node_modules/@some/models')
  mkdirSync(join(published, 'tiny'), { recursive: true })
  writeFileSync(join(published, 'package.json'), '{"name":"@some/models","version":"1.2.3"}')
  writeFileSync(join(published, 'tiny/model.onnx'), tinyGraph())
  assert.equal((await athanor('import', 'npm:@some/models@1.2.3#tiny')).stdout, 'tiny@1\n')
  assert.equal((await athanor('import', 'npm:@some/models@1.2.3')).stdout, 'models@1\n')
  assert.match((await athanor('import', 'npm:@some/models@1.2.3#none')).stderr, /DATA_EMPTY/)
  mkdirSync(join(root, 'linked'))
  symlinkSync('/etc/passwd', join(root, 'linked/model.onnx'))
  assert.match(
    (await athanor('import', join(root, 'linked'))).stderr,
    /a link out of the folder, to \/etc\/passwd[\s\S]*FORMAT_INVALID/,
  )
})

test('a model of the hub is fetched by the commit that is recorded, and goes on where it broke off', async () => {
  const encoder = tinyEncoder(['a b'], { task: 'text-classification', classes: 2 }, { labels: ['bad', 'good'] })
  const files = [...writeFolder(encoder)].map(([name, content]) => [name, Buffer.from(content)] as const)
  const hub = await startHub({ ...Object.fromEntries(files), 'pytorch_model.bin': Buffer.from('x') })
  process.env.ATHANOR_HF_ENDPOINT = hub.url
  try {
    hub.faults.changed = true
    assert.match((await athanor('import', 'hf:owner/name')).stderr, /FILE_DIFFERS/)
    hub.faults.changed = false
    hub.faults.breaks = { after: 50_000, times: 1 }
    const imported = await athanor('import', 'hf:owner/name@main')
    assert.equal(imported.stdout, 'name@1\n', imported.stderr)
    const { manifest } = JSON.parse((await athanor('show', 'name', '--json')).stdout) as { manifest: Manifest }
    assert.deepEqual(manifest.lineage.options, { format: 'huggingface', source: `hf:owner/name@${hub.commit}` })
    const fetched = hub.asked.map((one) => one.split(' ')[1])
    assert.ok(!fetched.some((path) => /\.bin|onnx/.test(path)), 'what is not read is not fetched')
    assert.match((await athanor('import', 'hf:owner/none')).stderr, /HUB_LACKS/)

    // as Python's hub client keeps it: a snapshot of links
    const cache = join(root, 'models--owner--cached')
    const snapshot = join(cache, 'snapshots', hub.commit)
    for (const folder of [snapshot, join(cache, 'blobs')]) mkdirSync(folder, { recursive: true })
    for (const [name, content] of files.filter(([name]) => !name.includes('/'))) {
      const digest = createHash('sha256').update(content).digest('hex')
      writeFileSync(join(cache, 'blobs', digest), content)
      symlinkSync(`../../blobs/${digest}`, join(snapshot, name))
    }
    const linked = await athanor('import', snapshot)
    assert.equal(linked.stdout, 'cached@1\n', linked.stderr)
    symlinkSync('nowhere', join(snapshot, 'more.json'))
    assert.match((await athanor('import', snapshot)).stderr, /"more.json" is a link to nothing/)
  } finally {
    delete process.env.ATHANOR_HF_ENDPOINT
    hub.close()
  }
})

test('what is wrong is said with what to do next, and an exit code', async () => {
  const empty = join(root, 'empty.csv')
  writeFileSync(empty, '')
  const oneClass = join(root, 'one.csv')
  writeFileSync(oneClass, 'text,label\na b,x\nc d,x\n')
  mkdirSync(join(root, 'nothing'))
  const cases: [string[], number, string, string?][] = [
    [['trian'], 2, 'COMMAND_UNKNOWN', 'train'],
    [['train', join(root, 'no.csv')], 1, 'DATA_NOT_FOUND'],
    [['train', empty], 1, 'DATA_EMPTY'],
    [['train', oneClass], 1, 'ONE_CLASS'],
    [['train', data, '--text', 'txt'], 1, 'COLUMN_UNKNOWN', 'text'],
    [['train', data, '--set', 'epoks=3'], 2, 'OPTION_INVALID', 'epochs'],
    [['train', data, '--set', 'epochs=many'], 2, 'OPTION_INVALID'],
    [['train', data, '--family', 'lsmt'], 2, 'OPTION_INVALID'],
    [['train', data, '--seed', 'x'], 2, 'OPTION_INVALID'],
    [['train', data, '--name', 'Bad Name'], 1, 'NAME_INVALID'],
    [['train', '--resume', 'none-1'], 1, 'RUN_NOT_FOUND'],
    [['run', 'none', 'x'], 1, 'MODEL_NOT_FOUND'],
    [['serve', '--port', '99999'], 2, 'OPTION_INVALID'],
    [['keys', 'crate', 'x'], 2, 'OPTION_INVALID'],
    [['run'], 2, 'COMMAND_WRONG'],
    [['train', data, '--famly', 'lstm'], 2, 'COMMAND_WRONG', '--family'],
    [['backup', join(root, 'none', 'b.tar')], 1, 'PATH_UNUSABLE'],
  ]
  for (const [args, code, expected, suggestion] of cases) {
    const { code: ended, stdout, stderr } = await athanor(...args, '--json')
    assert.equal(ended, code, `${args.join(' ')}: ${stdout}${stderr}`)
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; hint: string } }
    assert.equal(error.code, expected, args.join(' '))
    if (suggestion) assert.ok(error.hint.includes(`"${suggestion}"`), error.hint)
  }
})

test('a server: found by the commands, followed and ended; port and folder are its own', async () => {
  const { url, pid } = info
  const status = JSON.parse((await athanor('--json')).stdout) as { running: boolean; pid: number }
  assert.deepEqual([status.running, status.pid], [true, pid])
  const busy = JSON.parse((await athanor('serve', '--port', '0', '--json')).stdout) as {
    error: { code: string; message: string }
  }
  assert.equal(busy.error.code, 'HOME_BUSY')
  assert.ok(busy.error.message.includes(String(pid)))
  assert.equal((await fetch(`${url}/health`)).status, 200)
  assert.equal((await athanor('ps', '--json')).code, 0)
  assert.equal((await athanor('logs', '--json')).code, 0)
  assert.match((await athanor('doctor')).stdout, /runs at http/)

  // Ctrl-C during training leaves a run that can be resumed
  const training = await start(
    'train',
    data,
    '--name',
    'long',
    '--json',
    ...small.map((s) => (s === 'epochs=10' ? 'epochs=5000' : s)),
    '--set',
    'patience=5000',
  )
  const states = async () =>
    ((await (await fetch(`${url}/api/runs`)).json()) as { runs: { state: string }[] }).runs.map(({ state }) => state)
  while (!(await states()).includes('training')) await setTimeout(50)
  training.kill('SIGINT')
  const stopped = await training.ended
  assert.equal(stopped.code, 130, stopped.stderr)
  assert.match((JSON.parse(stopped.stdout) as { resume: string }).resume, /--resume long-1/)
  assert.ok(existsSync(join(main, 'runs', 'long-1')))
  assert.equal(JSON.parse((await athanor('ps', 'long-1', '--remove', '--json')).stdout).state, 'cancelled')
  assert.ok(!existsSync(join(main, 'runs', 'long-1')))

  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  const refused = JSON.parse(
    (await (await startIn(join(root, 'other'), 'serve', '--port', String(port), '--json')).ended).stdout,
  ) as {
    error: { code: string; hint: string }
  }
  taken.close()
  assert.equal(refused.error.code, 'PORT_BUSY')
  assert.ok(refused.error.hint.includes(String(port + 1)))
})

test('a server that others reach asks for keys; this machine’s user needs none', async (t) => {
  const home = join(root, 'shared')
  const run = async (...args: string[]) => (await startIn(home, ...args)).ended
  const bare = JSON.parse((await run('serve', '--port', '0', '--host', '0.0.0.0', '--json')).stdout)
  assert.equal(bare.error.code, 'KEYS_MISSING')
  assert.match(bare.error.hint, /athanor keys create first --role admin/)
  const key = (await run('keys', 'create', 'first', '--role', 'admin')).stdout.trim()
  assert.match(key, /^ath_[0-9a-f]{12}_[\w-]{43}$/)
  const asking = await startIn(home, 'serve', '--port', '0', '--require-keys', '--json')
  t.after(() => asking.kill('SIGKILL'))
  const [line] = (await once(asking.stdout!, 'data')) as [Buffer]
  const { url } = JSON.parse(String(line)) as { url: string }
  const status = async (headers = {}) => (await fetch(`${url}/api/models`, { headers })).status
  assert.deepEqual([await status(), await status({ authorization: `Bearer ${key}` })], [401, 200])
  await run('tenants', 'create', 'acme', '--budget', '5')
  const web = JSON.parse((await run('keys', 'create', 'web', '--tenant', 'acme', '--expires', '90d', '--json')).stdout)
  assert.deepEqual([web.tenant, web.role, web.key.startsWith(web.prefix)], ['acme', 'user', true])
  assert.deepEqual([await status({ 'api-key': web.key })], [200])
  assert.match((await run('tenants', 'list')).stdout, /acme +open +budget 5 a month/)
  assert.equal((await run('keys', 'revoke', web.id, '--tenant', 'acme')).code, 0)
  assert.equal(await status({ 'api-key': web.key }), 401)
  assert.match((await run('usage', '--csv')).stdout, /^tenant,day,model/)
  assert.match((await run('audit', '--tenant', 'acme')).stdout, /local +POST \/api\/keys/)

  // from another machine: signed in once, with a key from a pipe
  const elsewhere = join(root, 'elsewhere')
  const there = async (input: string, ...args: string[]) => (await startWith(elsewhere, input, ...args, '--json')).ended
  const errorOf = async (ended: Promise<Ended>) => JSON.parse((await ended).stdout).error.code
  assert.equal(await errorOf(there('', 'login', url)), 'LOGIN_CANCELLED')
  assert.equal(await errorOf(there(`${web.key}\n`, 'login', url)), 'UNAUTHORIZED', 'a revoked key is not kept')
  assert.equal(await errorOf(there('', 'login', 'ftp://x')), 'OPTION_INVALID')
  assert.deepEqual(await errorOf(there('', 'logout')), 'LOGIN_NOT_FOUND')
  const signedIn = await there(`${key}\n`, 'login', `${url}/`)
  assert.equal(JSON.parse(signedIn.stdout).url, url)
  assert.ok(!(signedIn.stdout + signedIn.stderr).includes(key))
  assert.equal(statSync(join(elsewhere, 'logins.json')).mode & 0o777, 0o600)
  const who = JSON.parse((await there('', 'whoami')).stdout)
  assert.deepEqual([who.url, who.role, who.tenant], [url, 'admin', 'default'])
  assert.deepEqual(JSON.parse((await there('', 'models')).stdout), [])
  assert.equal(JSON.parse((await there('', 'logout')).stdout).url, url)
  assert.equal(JSON.parse((await there('', 'whoami')).stdout).url, null)

  asking.kill('SIGTERM')
  await asking.ended
})

test('lines and tables fit the terminal; wide characters take two columns, and what is copied stays whole', () => {
  assert.deepEqual(wrap('  one two three', 10), ['  one two', '    three'])
  assert.deepEqual(wrap('a-word-that-is-long', 5), ['a-word-that-is-long'])
  const rows = [
    ['酒店', '房间干净，服务热情，位置方便，下次还会再来'],
    ['b', 'short'],
  ]
  const plain = (text: string) => text
  const lines = tableLines(['NAME', 'TEXT'], rows, 36, plain)
  assert.ok(lines.every((line) => widthOf(line) <= 36) && lines.length === 4, lines.join('\n'))
  assert.equal(lines[3], 'b     short')
  assert.deepEqual(tableLines(['A', 'B', 'C'], [['a', '', 'c']], 36, plain), ['A  C', 'a  c'], 'nothing in B')
  assert.deepEqual(tableLines(['NAME', 'TEXT'], [['b', 'two words']], 10, plain), [
    'NAME  b',
    'TEXT  two',
    '      words',
  ])
})

test('whatever a command does, --json prints one document', async () => {
  const lines: [string[], (document: never) => unknown][] = [
    [['requests'], (list: { door: string }[]) => list.every(({ door }) => door === 'native')],
    [['usage', '--csv', '--tenant', 'default'], (list: { model: string }[]) => list.length > 0],
    [['show', 'plain', '--graph'], ({ graph }: { graph: string[] }) => graph.length > 3],
    [
      ['deployments', 'plain'],
      ({ plan, changes }: { plan: null; changes: [] }) => plan === null && changes.length === 0,
    ],
    [['alerts', '--remove', 'none'], ({ error }: { error: { code: string } }) => error.code === 'ALERT_RULE_NOT_FOUND'],
    [['rollback', 'none'], ({ error }: { error: { code: string } }) => error.code === 'MODEL_NOT_FOUND'],
    [['rollback', 'plain'], ({ error }: { error: { code: string } }) => error.code === 'DEPLOYMENT_NOT_FOUND'],
    [['import', 'none.h5'], ({ error }: { error: { code: string } }) => error.code === 'PATH_UNUSABLE'],
    [['help', 'all'], (all: unknown[]) => all.length === commands.length],
  ]
  for (const [args, holds] of lines) {
    const { stdout, stderr } = await athanor(...args, '--json')
    assert.ok(holds(JSON.parse(stdout) as never), `${args.join(' ')}: ${stdout}`)
    assert.equal(stderr, '')
  }
  const none = await athanor('deployments', 'plain')
  assert.deepEqual([none.code, none.stdout], [0, ''])
  assert.match(none.stderr, /no deployment of plain: its newest version answers\n +Next: +athanor deploy plain/)
})

test('a command waits for a server that is about to listen, and leaves no trace of one of its own', async () => {
  const home = join(root, 'soon')
  const lock = lockHome(home)
  const waiting = await startIn(home, 'models', '--json')
  await setTimeout(1_000)
  lock.release()
  assert.deepEqual(await waiting.ended, { code: 0, stdout: '[]\n', stderr: '' })
  assert.equal((await (await startIn(home, 'logs', '--json')).ended).stdout, '[]\n')
})

test('without a server a command brings its own and ends it', async () => {
  const home = join(root, 'alone')
  const { code, stdout } = await (await startIn(home, 'models', '--json')).ended
  assert.deepEqual([code, JSON.parse(stdout)], [0, []])
  const { code: again } = await (await startIn(home, 'run', 'none', 'x')).ended
  assert.equal(again, 1, 'the data folder was given back')
})

test('every command has an example of its own in its help', async () => {
  const { stdout } = await athanor('--help')
  assert.ok(stdout.split('\n').length <= 27, 'one screen')
  const all = (await athanor('help', 'all')).stdout
  for (const { name, example } of commands) {
    const word = name.split(' ')[0]
    assert.ok(stdout.includes(word) && all.includes(word))
    assert.ok(example.startsWith(`athanor ${word}`))
  }
  assert.match((await athanor('train', '--help')).stdout, /Example:\n {2}\$ athanor train/)
})
