import ort from '../base/onnxruntime.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Measured } from '../drift/measures.ts'
import { measuredReference, type Reference } from '../drift/reference.ts'
import { tensorRows } from '../engine/measured.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { Batch } from './batch.ts'
import { openMeasured } from './opened.ts'

/** Inputs of held-out rows, and the classes that are right for them where there are some. */
export interface HeldOut {
  tensors: Batch['tensors']
  classes?: readonly number[]
}

/** What held-out rows of tensors look like, and what the graph answers to them; undefined when they are too few. */
export async function tensorReference(
  model: Uint8Array,
  about: Pick<Manifest, 'signature' | 'labels'>,
  parts: Iterable<HeldOut>,
  threads: number,
): Promise<Reference | undefined> {
  const session = await openMeasured(model, threads)
  try {
    const rows: (Measured & { right?: boolean })[] = []
    for (const { tensors, classes } of parts) {
      const feeds = Object.fromEntries(
        about.signature.inputs.map(({ name }) => {
          const { type, data, dims } = tensors[name]
          return [name, new ort.Tensor(type as 'float32', data as Float32Array, dims)]
        }),
      )
      const outputs = (await session.run(feeds)) as unknown as Record<string, Pick<Tensor, 'dims' | 'data'>>
      let row = 0
      for (const measured of tensorRows(about, feeds as unknown as typeof outputs, outputs, Number.POSITIVE_INFINITY)) {
        const { probabilities } = measured
        const right = classes && probabilities && indexOfMost(probabilities) === classes[row]
        rows.push({ ...measured, ...(right !== undefined && { right }) })
        row++
      }
    }
    return measuredReference(rows)
  } finally {
    await session.release()
  }
}

function indexOfMost(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}
