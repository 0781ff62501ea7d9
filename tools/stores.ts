// Runs a command beside a PostgreSQL and an S3 server of its own, which end with it: ATHANOR_TEST_POSTGRES and
// ATHANOR_TEST_S3 name them. PostgreSQL is Debian's (apt install postgresql), the other PyPI's moto[server], in the Python
// that ATHANOR_PYTHON names. Where one is missing, nothing is run.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

const folder = mkdtempSync(join(tmpdir(), 'athanor-stores-'))
const stops: (() => void)[] = [() => rmSync(folder, { recursive: true, force: true })]
const env: NodeJS.ProcessEnv = { ...process.env }

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

function postgresBin(): string | undefined {
  const base = '/usr/lib/postgresql'
  const versions = existsSync(base) ? readdirSync(base).sort((a, b) => Number(b) - Number(a)) : []
  return versions.map((version) => join(base, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')))
}

async function startPostgres() {
  const bin = postgresBin()
  if (!bin) throw new Error('there is no PostgreSQL here: apt install postgresql')
  const data = join(folder, 'postgres')
  const port = await freePort()
  // it refuses to run as root
  const root = userInfo().uid === 0
  if (root) execFileSync('chown', ['postgres', folder])
  const run = (command: string, ...args: string[]) =>
    root
      ? execFileSync('runuser', ['-u', 'postgres', '--', command, ...args], { cwd: '/' })
      : execFileSync(command, args)
  run(join(bin, 'initdb'), '-D', data, '-A', 'trust', '-U', 'athanor', '-E', 'UTF8')
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${folder} -c fsync=off`
  const control = (...args: string[]) => run(join(bin, 'pg_ctl'), '-D', data, ...args)
  control('-w', '-l', join(folder, 'postgres.log'), '-o', options, 'start')
  stops.unshift(() => control('-m', 'immediate', 'stop'))
  env.ATHANOR_TEST_POSTGRES = `postgres://athanor@127.0.0.1:${port}/postgres`
}

async function startS3() {
  const python = process.env.ATHANOR_PYTHON ?? 'python3'
  if (spawnSync(python, ['-c', 'import moto.server'], { stdio: 'ignore' }).status !== 0)
    throw new Error(`${python} has no moto[server]: pip install "moto[server]", and name the Python in ATHANOR_PYTHON`)
  const port = await freePort()
  const server = spawn(python, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
  stops.unshift(() => server.kill())
  Object.assign(env, { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'us-east-1' })
  const endpoint = `http://127.0.0.1:${port}`
  for (let attempt = 0; ; attempt++) {
    const made = await fetch(`${endpoint}/athanor`, { method: 'PUT' }).catch(() => undefined)
    if (made?.ok) break
    if (attempt > 100) throw new Error('the S3 server does not answer')
    await setTimeout(300)
  }
  env.ATHANOR_TEST_S3 = `s3://athanor?endpoint=${endpoint}`
}

try {
  await Promise.all([startPostgres(), startS3()])
  const [command, ...args] = process.argv.slice(2)
  const child = spawn(command, args, { env, stdio: 'inherit' })
  // what was started ends with the command, and the command with this
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => child.kill(signal))
  process.exitCode = await new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
} catch (error) {
  console.error((error as Error).message)
  process.exitCode = 1
} finally {
  for (const stop of stops) stop()
}
