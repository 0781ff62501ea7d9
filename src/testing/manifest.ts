import type { Manifest } from '../bundle/manifest.ts'

/** What a manifest that no run has made says beside its model. */
export const plainManifest = {
  format: 'athanor-bundle',
  formatVersion: 1,
  metrics: {},
  lineage: { code: 'test' },
  createdAt: new Date(0).toISOString(),
} as const

/** The manifest of a graph of which nothing is known, for tests that store it and don't run it. */
export const tensorManifest = (more: Partial<Manifest> = {}): Manifest => ({
  ...plainManifest,
  task: 'tensor',
  family: 'onnx',
  signature: { inputs: [], outputs: [] },
  labels: [],
  parameters: 0,
  ...more,
})
