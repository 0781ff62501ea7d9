import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Athanor } from '../client/src/index.ts'
import { freePort } from './lib/encoder-race.ts'
import { llamaFile, llamaFileBundle, madeUpWords } from './lib/models.ts'
import { processorSeconds, startServer } from './lib/server.ts'
import { median, quantile } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description =
  'completions of a GGUF against llama-server (LLAMA_SERVER: its binary; ATHANOR_ENGINES: with llama in it; GGUF: a file, else made up)'

const [ROUNDS, SECONDS, TOKENS] = [Number(process.env.ROUNDS ?? 2), Number(process.env.SECONDS ?? 5), 48]
const CLIENTS = (process.env.CLIENTS ?? '1,8,32').split(',').map(Number)
/** Of both sides. With more than one, neighbours on the same processors slow both down beyond measure: threads wait for each other. */
const THREADS = Number(process.env.THREADS ?? availableParallelism())
const NICENESS = 5
/** Places for texts in llama-server; with fewer it lets callers wait. */
const PLACES = Number(process.env.PLACES ?? 32)

interface Side {
  readonly url: string
  readonly pids: () => Promise<number[]>
  readonly loads: Map<number, Load[]>
}
interface Load {
  perSecond: number
  p99: number
  failed: number
  /** Milliseconds of processor time a token, in all processes of that side. */
  processor: number
}

const words = madeUpWords(4000)
/** Prompts begin alike, as those of one application do, and go on differently. */
const promptOf = (n: number) =>
  `${words.slice(0, 24).join(' ')} ${words.slice((n * 37) % 3000, ((n * 37) % 3000) + 24).join(' ')}`

export async function run(log: (line: string) => void): Promise<Result[]> {
  const binary = process.env.LLAMA_SERVER
  const folder = mkdtempSync(join(tmpdir(), 'athanor-llama-'))
  const file = process.env.GGUF ? readFileSync(process.env.GGUF) : await llamaFile()
  const path = process.env.GGUF ?? join(folder, 'model.gguf')
  if (!process.env.GGUF) writeFileSync(path, file)
  const server = await startServer({ model: false, models: [['llama', llamaFileBundle(file)]] })
  const children: ChildProcess[] = []
  try {
    const client = new Athanor({ url: server.url, timeout: 300_000 })
    await client.deployments.setServing('llama', { threads: THREADS })
    await client.models.load('llama')
    const sides: Record<string, Side> = {
      ours: {
        url: `${server.url}/v1/completions`,
        pids: async () => [server.pid, ...(await client.engines()).map(({ pid }) => pid!)],
        loads: new Map(),
      },
    }
    if (binary) {
      const port = await freePort()
      const context = String(PLACES * 2048)
      const given = ['-m', path, '-t', String(THREADS), '-np', String(PLACES), '-c', context, '--port', String(port)]
      const child = spawn(binary, [...given, '--host', '127.0.0.1', '--log-disable'], { stdio: 'ignore' })
      children.push(child)
      setPriority(child.pid!, NICENESS) // as our engines have it, for what else runs on the machine
      const url = `http://127.0.0.1:${port}/v1/completions`
      sides.peer = { url, pids: async () => [child.pid!], loads: new Map() }
      await ready(url)
    }
    let asked = 0
    for (let round = -1; round < ROUNDS; round++) {
      for (const clients of CLIENTS) {
        const turns = Object.values(sides)
        const from = asked
        for (const side of round % 2 ? turns : turns.toReversed()) {
          const { load, next } = await measure(side, clients, round < 0 ? 1 : SECONDS, from)
          asked = Math.max(asked, next)
          if (round >= 0) side.loads.set(clients, [...(side.loads.get(clients) ?? []), load])
        }
      }
      log(`round ${round + 1} of ${ROUNDS}`)
    }
    return CLIENTS.flatMap((clients) => {
      const of = (side: Side | undefined, key: keyof Load) =>
        side && median(side.loads.get(clients)!.map((load) => load[key]))
      const line = (measure: string, unit: string, key: keyof Load, lower = false) => {
        const [value, peer] = [of(sides.ours, key)!, of(sides.peer, key)]
        const ratio = peer === undefined ? {} : { peer, ratio: lower ? peer / value : value / peer }
        return { measure: `${clients} clients: ${measure}`, value, unit, ...ratio }
      }
      return [
        line('tokens (goal 0.97)', '1/s', 'perSecond'),
        line('text of 48 tokens, p99', 'ms', 'p99', true),
        line('processor time a token', 'ms', 'processor', true),
        line('failed', '', 'failed'),
      ]
    })
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await server.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** So many clients, each asking for the next text when it has one; prompts are numbered from `from`. */
async function measure({ url, pids }: Side, clients: number, seconds: number, from: number) {
  const used = async () => (await pids()).reduce((sum, pid) => sum + processorSeconds(pid), 0)
  const before = await used()
  const began = performance.now()
  const times: number[] = []
  let [next, tokens, failed] = [from, 0, 0]
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() - began < seconds * 1000) {
        const started = performance.now()
        const written = await complete(url, promptOf(next++))
        if (written === undefined) failed++
        else tokens += written
        times.push(performance.now() - started)
      }
    }),
  )
  const elapsed = (performance.now() - began) / 1000
  const processor = (((await used()) - before) * 1000) / tokens
  return { load: { perSecond: tokens / elapsed, p99: quantile(times, 0.99), failed, processor }, next }
}

/** How many tokens were written; undefined where the answer is not what was asked for. */
async function complete(url: string, prompt: string): Promise<number | undefined> {
  const body = JSON.stringify({ model: 'llama', prompt, max_tokens: TOKENS, temperature: 0 })
  const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
  if (!response.ok) return undefined
  const { choices, usage } = (await response.json()) as {
    choices: [{ text: string; finish_reason: string }]
    usage: { completion_tokens: number }
  }
  const [{ text, finish_reason: finish }] = choices
  const whole = finish === 'stop' || usage.completion_tokens === TOKENS
  return text.length > 0 && whole ? usage.completion_tokens : undefined
}

async function ready(url: string) {
  for (const until = performance.now() + 60_000; performance.now() < until; await wait(250))
    if ((await complete(url, 'x').catch(() => undefined)) !== undefined) return
  throw new Error('llama-server did not start')
}
