import { version as code } from '../base/version.ts'
import type { Manifest } from '../bundle/manifest.ts'

/** The manifest of an ONNX file as a model that takes tensors; throws MODEL_INVALID. */
export async function plainManifest(bytes: Uint8Array, more: Partial<Manifest> = {}): Promise<Manifest> {
  const [{ readModel }, { signatureOf }] = await Promise.all([
    import('../graph/codec.ts'),
    import('../graph/signature.ts'),
  ])
  const model = readModel(bytes)
  return {
    format: 'athanor-bundle',
    formatVersion: 1,
    task: 'tensor',
    family: 'onnx',
    signature: signatureOf(model),
    labels: [],
    parameters: (model.graph?.initializer ?? []).reduce(
      (sum, { dims }) => sum + dims.reduce((a, b) => a * Number(b), 1),
      0,
    ),
    metrics: {},
    lineage: { code },
    createdAt: new Date().toISOString(),
    ...more,
  }
}
