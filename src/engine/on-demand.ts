import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail } from '../base/errors.ts'

/** Packages of llama.cpp's binaries that run on processors; those for graphics cards take 670 MB more. */
const binaries: Record<string, string> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-arm64': 'mac-arm64-metal',
  'darwin-x64': 'mac-x64',
  'win32-x64': 'win-x64',
  'win32-arm64': 'win-arm64',
}

/** An engine that is not part of the installation: its library, what it takes, and how npm is asked for it. */
interface OnDemand {
  readonly library: string
  readonly megabytes: number
  /** Throws UNSUPPORTED where there is none for this machine. */
  packages(): readonly string[]
}

export const onDemand = {
  llama: {
    library: 'node-llama-cpp',
    megabytes: 85,
    packages() {
      const platform = `${process.platform}-${process.arch}`
      const binary = binaries[platform]
      const instead = 'Use a server of llama.cpp by athanor remote.'
      if (!binary) throw fail('UNSUPPORTED', { what: `the engine llama on ${platform}`, instead })
      return ['--omit=optional', 'node-llama-cpp@3.22.1', `@node-llama-cpp/${binary}@3.22.1`]
    },
  },
  transformers: {
    library: '@huggingface/transformers',
    megabytes: 475,
    packages: () => ['@huggingface/transformers@4.3.1'],
  },
} as const satisfies Record<string, OnDemand>
export type OnDemandName = keyof typeof onDemand

/** The folder of an engine's library; throws ENGINE_MISSING with the command that installs it. */
export async function findOnDemand(name: OnDemandName, folder: string): Promise<string> {
  const { library, megabytes } = onDemand[name]
  const found = join(folder, name, 'node_modules', library)
  if (existsSync(join(found, 'package.json'))) return found
  const instead = `Install it (${megabytes} MB): athanor engines install ${name}`
  throw fail('ENGINE_MISSING', { engine: name, instead })
}

/** Installs an engine with npm, whose lines go to `say`. Throws ENGINE_MISSING with the command when npm cannot. */
export async function installOnDemand(name: OnDemandName, folder: string, say: (line: string) => void): Promise<void> {
  const place = join(folder, name)
  const given = ['install', '--prefix', place, '--ignore-scripts', ...onDemand[name].packages()]
  mkdirSync(place, { recursive: true })
  const manifest = join(place, 'package.json')
  if (!existsSync(manifest)) writeFileSync(manifest, '{ "private": true }\n')
  const child = spawn('npm', given, { stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => say(String(piece).trimEnd()))
  const code = await new Promise<number | null>((resolve) =>
    child.once('close', resolve).once('error', () => resolve(null)),
  )
  if (code !== 0) throw fail('ENGINE_MISSING', { engine: name, instead: `Try: npm ${given.join(' ')}` })
}
