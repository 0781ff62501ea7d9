#!/usr/bin/env node
// Starts the CLI on a Node that runs it: this one if it is 24 or newer, else the one npm brought as a dependency.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import nodeModule, { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const built = new URL('../dist/src/cli/main.js', import.meta.url)
const source = new URL('../src/cli/main.ts', import.meta.url)
const main = existsSync(source) ? source : built // a checkout runs its sources, the package its build

if (Number(process.versions.node.split('.')[0]) >= 24) {
  // starts in half the time from the second time on, as do the processes that it starts
  process.env.NODE_COMPILE_CACHE ??= join(tmpdir(), 'node-compile-cache')
  nodeModule.enableCompileCache()
  await import(main.href)
} else {
  const node = bundledNode()
  if (!node) {
    console.error(`error: Athanor needs Node 24 or newer; this is ${process.version}.`)
    console.error('  Install Node 24, or reinstall without --omit=optional so that npm can bring it.')
    process.exit(1)
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => (signal ? process.kill(process.pid, signal) : process.exit(code ?? 1)))
}

function bundledNode() {
  const { resolve } = createRequire(import.meta.url)
  const binary = process.platform === 'win32' ? 'node.exe' : 'node'
  for (const name of ['node', 'node-bin']) {
    try {
      return resolve(`${name}-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}/bin/${binary}`)
    } catch {
      // this platform's package goes by the other name, or npm was told to leave optional dependencies out
    }
  }
}
