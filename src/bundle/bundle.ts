import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Check, Errors } from 'typebox/value'
import { fail } from '../base/errors.ts'
import { Manifest } from './manifest.ts'

/** The files a bundle of each task must have. */
export const requiredFiles = {
  'text-classification': ['model.onnx', 'tokenizer.json'],
  'text-generation': ['model.onnx', 'tokenizer.json'],
  'image-classification': ['model.onnx'],
  tensor: ['model.onnx'],
} as const satisfies Record<Manifest['task'], readonly string[]>

/** A bundle in a folder: its manifest, and the paths of its files by name. */
export interface Bundle {
  manifest: Manifest
  files: Record<string, string>
}

/** The value as a manifest; throws BUNDLE_INVALID naming what is wrong. */
export function checkManifest(value: unknown): Manifest {
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
  const present = (await readdir(folder)).filter((name) => name !== 'manifest.json')
  const files = Object.fromEntries(
    [...requiredFiles[manifest.task], ...present].map((name) => [name, join(folder, name)]),
  )
  return { manifest, files }
}
