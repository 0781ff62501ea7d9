import { spawnSync } from 'node:child_process'
import { statfsSync } from 'node:fs'
import { createServer } from 'node:net'
import { availableParallelism, freemem, totalmem } from 'node:os'
import { configure } from '../../base/config.ts'
import { asAthanorError } from '../../base/errors.ts'
import { version } from '../../base/version.ts'
import { lockHome, readServerInfo } from '../../store/home.ts'
import type { GlobalOptions } from '../context.ts'
import { exitCodes } from '../context.ts'
import { bytes, Terminal } from '../terminal.ts'

interface Check {
  name: string
  state: 'ok' | 'warn' | 'fail'
  text: string
  next?: string
}

/** Looks at what Athanor needs from this machine, and says what to do about what is missing. */
export async function doctor(options: GlobalOptions) {
  const out = new Terminal(options)
  const { home, port } = configure()
  const checks: Check[] = [
    { name: 'athanor', state: 'ok', text: version },
    node(),
    engine(),
    folder(home),
    disk(home),
    await portFree(port, home),
    memory(),
  ]
  if (out.json) out.document({ home, checks })
  else {
    const marks = { ok: out.style('green', '✓'), warn: out.style('yellow', '!'), fail: out.style('red', '✗') }
    for (const { name, state, text, next } of checks) {
      out.data(`${marks[state]} ${name.padEnd(12)} ${text}`)
      if (next) out.data(`               ${next}`)
    }
  }
  if (checks.some(({ state }) => state === 'fail')) process.exitCode = exitCodes.failed
}

function node(): Check {
  const major = Number(process.versions.node.split('.')[0])
  const text = `${process.version} on ${process.platform} ${process.arch}`
  return major >= 24
    ? { name: 'node', state: 'ok', text }
    : { name: 'node', state: 'fail', text, next: 'Install Node 24 or newer.' }
}

/** The engine's library is loaded in a process of its own: should it crash, this one goes on. */
function engine(): Check {
  const script =
    "import('onnxruntime-node').then((ort) => console.log(ort.env.versions.node ?? ort.env.versions.common))"
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    cwd: import.meta.dirname,
    timeout: 20_000,
  })
  if (status === 0) return { name: 'onnxruntime', state: 'ok', text: stdout.trim() }
  return {
    name: 'onnxruntime',
    state: 'fail',
    text: 'its library cannot be loaded',
    next: 'Reinstall: npm ci. It needs glibc 2.28 or newer, macOS 14 or Windows.',
  }
}

function folder(home: string): Check {
  try {
    lockHome(home).release()
    return { name: 'data folder', state: 'ok', text: home }
  } catch (thrown) {
    const error = asAthanorError(thrown)
    const running = error.code === 'HOME_BUSY'
    return {
      name: 'data folder',
      state: running ? 'ok' : 'fail',
      text: `${home}: ${error.message}`,
      ...(!running && { next: error.hint }),
    }
  }
}

function disk(home: string): Check {
  try {
    const { bavail, bsize } = statfsSync(home)
    const free = bavail * bsize
    const text = `${bytes(free)} free`
    return free > 1e9
      ? { name: 'disk', state: 'ok', text }
      : { name: 'disk', state: 'warn', text, next: 'Free some space: training keeps checkpoints.' }
  } catch {
    return { name: 'disk', state: 'warn', text: 'unknown' }
  }
}

async function portFree(port: number, home: string): Promise<Check> {
  const running = readServerInfo(home)
  if (running) return { name: 'server', state: 'ok', text: `runs at ${running.url}, process ${running.pid}` }
  const free = await new Promise<boolean>((resolve) => {
    const probe = createServer()
      .once('error', () => resolve(false))
      .once('listening', () => probe.close(() => resolve(true)))
      .listen(port, '127.0.0.1')
  })
  if (free) return { name: 'server', state: 'ok', text: `not running; port ${port} is free` }
  return {
    name: 'server',
    state: 'warn',
    text: `not running; port ${port} is in use`,
    next: `Choose another: athanor serve --port ${port + 1}`,
  }
}

function memory(): Check {
  const text = `${availableParallelism()} cores, ${bytes(totalmem())} memory, ${bytes(freemem())} free`
  return freemem() > 1e9
    ? { name: 'machine', state: 'ok', text }
    : { name: 'machine', state: 'warn', text, next: 'Little memory is free.' }
}
