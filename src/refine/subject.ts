import { readFileSync } from 'node:fs'
import { writeBundle } from '../bundle/bundle.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { readSamples, type Sample, sampleFiles } from '../data/samples.ts'
import { readModel, writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { signatureOf } from '../graph/signature.ts'

/** A bundle in memory, as passes take and give it: a value that is never changed. */
export interface Subject {
  readonly manifest: Manifest
  readonly model: ModelProto
  /** All other files by name. */
  readonly files: Readonly<Record<string, Uint8Array>>
}

const MODEL = 'model.onnx'

/** Reads a bundle's files; throws MODEL_INVALID. */
export function readSubject(manifest: Manifest, paths: Readonly<Record<string, string>>): Subject {
  const files = Object.fromEntries(Object.entries(paths).map(([name, path]) => [name, readFileSync(path)]))
  const { [MODEL]: model, ...others } = files
  return { manifest, model: readModel(model), files: others }
}

/** The subject with another graph, its signature taken from there. */
export const withModel = (subject: Subject, model: ModelProto): Subject => ({
  ...subject,
  model,
  manifest: { ...subject.manifest, signature: signatureOf(model) },
})

/** The subject no longer as an encoder that can be trained on: its weights or tokens are not as the encoder's sizes say. */
export function withoutCard(subject: Subject): Subject {
  const { encoder: _, ...manifest } = subject.manifest
  return { ...subject, manifest }
}

/** Writes the bundle to a folder and returns the paths of its files. */
export async function writeSubject(
  folder: string,
  { manifest, model, files }: Subject,
): Promise<Record<string, string>> {
  const all = { [MODEL]: writeModel(model), ...files }
  await writeBundle(folder, manifest, all)
  return Object.fromEntries(Object.keys(all).map((name) => [name, `${folder}/${name}`]))
}

/** Rows that the bundle keeps: held-in ones to choose by, held-out ones to judge by. */
export function samplesOf({ files }: Subject, kind: keyof typeof sampleFiles): Sample[] {
  const content = files[sampleFiles[kind]]
  return content ? readSamples(Buffer.from(content).toString('utf8')) : []
}

/** Bytes that serving needs: without the rows kept for measuring. */
export function servedBytes({ model, files }: Subject): number {
  const samples: readonly string[] = Object.values(sampleFiles)
  const others = Object.entries(files).filter(([name]) => !samples.includes(name))
  return writeModel(model).byteLength + others.reduce((sum, [, { byteLength }]) => sum + byteLength, 0)
}
