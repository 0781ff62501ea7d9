import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Athanor } from '../../client/src/index.ts'
import type { Result } from '../main.ts'
import { checkedLoad, expectedAnswers } from './checked.ts'
import type { Load } from './clients.ts'
import { miniLmBundle } from './models.ts'
import { type Bundle, startServer } from './server.ts'
import { median } from './statistics.ts'
import { texts } from './texts.ts'

/** A server that answers a text with its vector. `{port}`, `{folder}` and `{threads}` stand in its command. */
export interface Peer {
  readonly name: string
  readonly command: readonly string[]
  readonly path: string
  body(text: string): unknown
  /** Puts what it needs beside `model.onnx` and `tokenizer.json`. */
  prepare?(bundle: Bundle, folder: string): void
}

const [ROUNDS, SECONDS, CLIENTS] = [2, 3, [1, 8, 32]]
/** A race against `peers/SCRIPT FOLDER PORT THREADS …`, run by the Python that ATHANOR_PYTHON names. */
export const racePython =
  ({ script, more = [], ...peer }: Pick<Peer, 'name' | 'path' | 'body'> & { script: string; more?: string[] }) =>
  (log: (line: string) => void) => {
    const file = fileURLToPath(new URL(`../peers/${script}`, import.meta.url))
    const python = process.env.ATHANOR_PYTHON ?? 'python3'
    return raceEncoder({ ...peer, command: [python, file, '{folder}', '{port}', '{threads}', ...more] }, log)
  }

/** Vectors of 64-character texts by the same graph in two servers, which take turns. */
export async function raceEncoder(peer: Peer, log: (line: string) => void): Promise<Result[]> {
  const folder = mkdtempSync(join(tmpdir(), 'athanor-race-'))
  const bundle = await miniLmBundle()
  for (const [name, bytes] of Object.entries(bundle.files)) writeFileSync(join(folder, name), bytes)
  peer.prepare?.(bundle, folder)
  const server = await startServer({ model: false, models: [['encoder', bundle]] })
  const port = await freePort()
  const fill = (word: string) =>
    word
      .replace('{port}', String(port))
      .replace('{folder}', folder)
      .replace('{threads}', String(availableParallelism()))
  const [command, ...args] = peer.command.map(fill)
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], cwd: folder, detached: true })
  try {
    const expected = await expectedAnswers(bundle)
    await new Athanor({ url: server.url }).models.load('encoder')
    const sides = {
      ours: { url: `${server.url}/v1/embeddings`, bodies: texts.map((input) => ({ model: 'encoder', input })) },
      peer: { url: `http://127.0.0.1:${port}${peer.path}`, bodies: texts.map((text) => peer.body(text)) },
    }
    const jobs = Object.entries(sides).map(([side, { url, bodies }]) => ({
      side: side as keyof typeof sides,
      job: { url, bodies: bodies.map((body) => JSON.stringify(body)), ...expected },
    }))
    await answers(sides.peer.url, JSON.stringify(sides.peer.bodies[0]), child)
    const loads = new Map<string, Load[]>()
    for (let round = -1; round < ROUNDS; round++) {
      for (const clients of CLIENTS)
        for (const { side, job } of round % 2 ? jobs : jobs.toReversed()) {
          const load = await checkedLoad({ ...job, clients, seconds: round < 0 ? 1 : SECONDS })
          const key = `${side} ${clients}`
          if (round >= 0) loads.set(key, [...(loads.get(key) ?? []), load])
        }
      log(`round ${round + 1} of ${ROUNDS}`)
    }
    return CLIENTS.flatMap((clients) => {
      const [ours, theirs] = ['ours', 'peer'].map((side) => loads.get(`${side} ${clients}`)!)
      const of = (list: Load[], key: keyof Load) => median(list.map((load) => load[key]))
      const bad = (list: Load[]) => list.reduce((sum, { failed, wrong }) => sum + failed + wrong, 0)
      const line = (key: 'perSecond' | 'p99', unit: string) => {
        const [value, other] = [of(ours, key), of(theirs, key)]
        const ratio = key === 'p99' ? other / value : value / other
        const what = key === 'p99' ? 'p99' : 'answers'
        return { measure: `${clients} clients: ${what}, against ${peer.name}`, value, unit, peer: other, ratio }
      }
      return [
        line('perSecond', '1/s'),
        line('p99', 'ms'),
        { measure: `${clients} clients: failed or wrong`, value: bad(ours), unit: '', peer: bad(theirs) },
      ]
    })
  } finally {
    await end(child)
    await server.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Ends a server with the processes that it started: some of them only it knows, so it is asked first. */
async function end(child: ChildProcess) {
  if (child.exitCode === null) {
    const exit = once(child, 'exit')
    child.kill('SIGTERM')
    await Promise.race([exit, wait(5_000)])
  }
  try {
    process.kill(-child.pid!, 'SIGKILL')
  } catch {
    // none is left
  }
}

/** Waits until a server answers. */
async function answers(url: string, body: string, child: ChildProcess) {
  for (const until = performance.now() + 60_000; performance.now() < until; await wait(250)) {
    if (child.exitCode !== null) throw new Error(`the peer ended with ${child.exitCode}`)
    const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } }).catch(
      () => undefined,
    )
    if (response?.ok) return
  }
  throw new Error(`no answer from ${url}`)
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

export const subfolder = (folder: string, name: string) => {
  const path = join(folder, name)
  mkdirSync(path, { recursive: true })
  return path
}
