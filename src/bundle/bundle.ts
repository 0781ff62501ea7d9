import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type * as Value from 'typebox/value'
import { fail } from '../base/errors.ts'
import type { HubTaskName } from './hub.ts'
import { Manifest } from './manifest.ts'

/** The files that a bundle of each task has when it is run by onnxruntime. */
const onnxFiles = {
  'text-classification': ['model.onnx', 'tokenizer.json'],
  'token-classification': ['model.onnx', 'tokenizer.json'],
  'feature-extraction': ['model.onnx', 'tokenizer.json'],
  'fill-mask': ['model.onnx', 'tokenizer.json'],
  'text-generation': ['model.onnx', 'tokenizer.json'],
  'image-classification': ['model.onnx'],
  tensor: ['model.onnx'],
} as const satisfies Record<Exclude<Manifest['task'], HubTaskName>, readonly string[]>

/** The files that a bundle must have, by what runs it. */
export const requiredFiles = ({ engine = 'onnx', task }: Manifest): readonly string[] =>
  ({
    onnx: onnxFiles[task as keyof typeof onnxFiles] ?? ['model.onnx'],
    llama: ['model.gguf'],
    transformers: ['config.json'],
    remote: [],
    pipeline: [],
  })[engine]

/** The sealed key of the server that answers for a version; never handed out. */
export const SEALED_KEY = 'key.sealed'

/**
 * Files that a bundle may have beside those: rows of its data as text, `{ text, label }` a line, and the data card; what
 * other libraries want beside a tokenizer; weights that are kept for training.
 */
const optionalFiles = [
  'heldout.jsonl',
  'heldin.jsonl',
  'data-card.md',
  'data-card.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'rest.safetensors',
] as const

/** A bundle in a folder: its manifest, and the paths of its files by name. */
export interface Bundle {
  manifest: Manifest
  files: Record<string, string>
}

/** The value as a manifest; throws BUNDLE_INVALID naming what is wrong. */
export function checkManifest(value: unknown): Manifest {
  // three hundred modules that only registering needs
  const { Check, Errors } = createRequire(import.meta.url)('typebox/value') as typeof Value
  if (Check(Manifest, value)) return value
  const [first] = Errors(Manifest, value)
  throw fail('BUNDLE_INVALID', {
    reason: `manifest${first?.instancePath ?? ''}: ${first?.message ?? 'not as described'}`,
  })
}

/** Writes a bundle to a folder, the manifest last. */
export async function writeBundle(
  folder: string,
  manifest: Manifest,
  files: Record<string, Uint8Array | string>,
): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest, null, 2))
}

/** Reads what `writeBundle` wrote; throws BUNDLE_INVALID. */
export async function readBundle(folder: string): Promise<Bundle> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8'))
  } catch (error) {
    throw fail('BUNDLE_INVALID', { reason: 'no readable manifest.json' }, { cause: error })
  }
  const manifest = checkManifest(value)
  const there = optionalFiles.filter((name) => existsSync(join(folder, name)))
  const names = [...requiredFiles(manifest), ...there]
  const files = Object.fromEntries(names.map((name) => [name, join(folder, name)]))
  return { manifest, files }
}
