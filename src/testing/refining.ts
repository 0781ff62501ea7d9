import type { Manifest } from '../bundle/manifest.ts'
import { readModel } from '../graph/codec.ts'
import { plainManifest } from './manifest.ts'

/** A tolerance for tests of what a refinement makes, not of how fast that is. */
export const anySpeed = 'latency<=1000,throughput>=0.0001,memory<=100,size<=2'

/** What formats make of a model: what the manifest says of it, and its files. */
interface Described {
  readonly manifest: Partial<Manifest>
  readonly files: Readonly<Record<string, Uint8Array | string>>
}

/** The manifest of a version that has been neither trained nor measured. */
export const wholeManifest = ({ manifest }: Pick<Described, 'manifest'>): Manifest =>
  ({ ...plainManifest, ...manifest }) as Manifest

/** The same as passes take it. */
export function subjectOf({ manifest, files }: Described) {
  const { 'model.onnx': model, ...others } = files
  return {
    manifest: wholeManifest({ manifest }),
    model: readModel(model as Uint8Array),
    files: Object.fromEntries(Object.entries(others).map(([name, content]) => [name, Buffer.from(content)])),
  }
}
