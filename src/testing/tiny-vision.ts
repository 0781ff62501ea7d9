import type { Manifest } from '../bundle/manifest.ts'
import { GraphBuilder } from '../graph/builder.ts'
import { writeModel } from '../graph/codec.ts'
import * as o from '../graph/ops.ts'
import { signatureOf } from '../graph/signature.ts'
import { plainManifest } from './manifest.ts'

/** A model that tells light images from dark ones by their mean. */
export function tinyVision() {
  const g = new GraphBuilder()
  const pixels = g.input('pixels', 'float32', ['batch', 1, 4, 4])
  const mean = o.reduceMean(pixels, [2, 3]) // (batch, 1)
  g.output(o.softmax(o.concat([o.mul(mean, -8), o.mul(mean, 8)], 1)), 'probabilities')
  const model = g.build()
  const manifest: Manifest = {
    ...plainManifest,
    task: 'image-classification',
    family: 'tiny',
    signature: signatureOf(model),
    labels: ['dark', 'light'],
    pipeline: { height: 4, width: 4, channels: 1, fit: 'fill', mean: [0.5], deviation: [1] },
    parameters: 0,
  }
  return { manifest, files: { 'model.onnx': writeModel(model) } }
}
