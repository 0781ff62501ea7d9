import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Manifest } from '../../src/bundle/manifest.ts'
import { Registry } from '../../src/registry/registry.ts'
import { openStore } from '../../src/store/store.ts'
import { tinyClassifier } from '../../src/testing/tiny.ts'

const bin = fileURLToPath(new URL('../../bin/athanor.js', import.meta.url))

export interface BenchServer {
  url: string
  pid: number
  readyMs: number
  child: ChildProcess
  close(): Promise<void>
}

export interface Bundle {
  readonly manifest: Manifest
  readonly files: Record<string, Uint8Array>
}

/**
 * A server in a process of its own on a fresh data folder, with versions registered as `text`: a char-LSTM (E 128, H 128)
 * where none are given, none at all for `false`; or with `models` by name.
 */
export async function startServer({
  model = true,
  models = [],
}: {
  model?: boolean | readonly Bundle[]
  models?: readonly (readonly [name: string, Bundle])[]
} = {}): Promise<BenchServer> {
  const home = mkdtempSync(join(tmpdir(), 'athanor-bench-'))
  const texts = model === true ? [await benchClassifier()] : model || []
  const named = [...texts.map((bundle) => ['text', bundle] as const), ...models]
  if (named.length > 0) {
    const store = await openStore(home)
    for (const [name, { manifest, files }] of named) await new Registry(store).register(name, manifest, files)
    await store.close()
  }
  const started = performance.now()
  const child = spawn(process.execPath, [bin, 'serve', '--port', '0', '--json', '--log', 'error'], {
    env: { ...process.env, ATHANOR_HOME: home },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  const readyMs = performance.now() - started
  const { url, pid } = JSON.parse(String(line)) as { url: string; pid: number }
  return {
    url,
    pid,
    readyMs,
    child,
    async close() {
      child.kill('SIGTERM')
      await once(child, 'exit')
      rmSync(home, { recursive: true, force: true })
    },
  }
}

export const benchClassifier = () =>
  tinyClassifier({ hidden: 128, width: 128, labels: Array.from({ length: 20 }, (_, i) => `label ${i}`) })

/** Resident memory of a process in MB. */
export function residentMB(pid: number): number {
  const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1])
  return (pages * 4096) / 1e6
}

/** Seconds that a process has computed, in user and system mode (proc(5); a tick is 10 ms). */
export function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
