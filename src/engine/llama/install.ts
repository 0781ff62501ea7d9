import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail } from '../../base/errors.ts'

const VERSION = '3.22.1'

/** Packages of the library's binaries that run on processors; those for graphics cards take 670 MB more. */
const binaries: Record<string, string> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-arm64': 'mac-arm64-metal',
  'darwin-x64': 'mac-x64',
  'win32-x64': 'win-x64',
  'win32-arm64': 'win-arm64',
}

/** What npm is called with: the library, and of its optional binaries the one of this machine. Throws UNSUPPORTED. */
function npmArguments(folder: string): string[] {
  const platform = `${process.platform}-${process.arch}`
  const binary = binaries[platform]
  if (!binary)
    throw fail('UNSUPPORTED', {
      what: `the engine llama on ${platform}`,
      instead: 'Use a server of llama.cpp by athanor remote.',
    })
  const packages = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/${binary}@${VERSION}`]
  return ['install', '--prefix', join(folder, 'llama'), '--omit=optional', '--ignore-scripts', ...packages]
}

/** The folder of node-llama-cpp; throws ENGINE_MISSING with the command that installs it. */
export async function findLlama(folder: string): Promise<string> {
  const library = join(folder, 'llama', 'node_modules', 'node-llama-cpp')
  if (existsSync(join(library, 'package.json'))) return library
  throw fail('ENGINE_MISSING', { engine: 'llama', instead: 'Install it (85 MB): athanor engines install llama' })
}

/** Installs node-llama-cpp with npm, whose lines go to `say`. Throws ENGINE_MISSING with the command when npm cannot. */
export async function installLlama(folder: string, say: (line: string) => void): Promise<void> {
  const given = npmArguments(folder)
  mkdirSync(join(folder, 'llama'), { recursive: true })
  const manifest = join(folder, 'llama', 'package.json')
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n')
  const child = spawn('npm', given, { stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => say(String(piece).trimEnd()))
  const code = await new Promise<number | null>((resolve) =>
    child.once('close', resolve).once('error', () => resolve(null)),
  )
  if (code !== 0) throw fail('ENGINE_MISSING', { engine: 'llama', instead: `Try: npm ${given.join(' ')}` })
}
