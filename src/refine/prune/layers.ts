import type ort from '../../base/onnxruntime.ts'
import { openSession } from '../../engine/session.ts'
import { GraphBuilder } from '../../graph/builder.ts'
import { writeModel } from '../../graph/codec.ts'
import { inferenceNetwork } from '../../nn/inference.ts'
import type { Example } from '../examples/example.ts'
import type { Prunable, Sized } from './network.ts'

/** `layer.3/…` of a Transformer: which parameters belong to a layer. */
const inLayer = /^layer\.(\d+)\//

/**
 * Takes whole layers out of a Transformer, one after another: each time that without which the mean loss on the rows is
 * lowest. Returns the network and the layers that went, by their first numbers.
 */
export async function dropLayers(
  prunable: Prunable,
  network: Sized,
  count: number,
  rows: readonly Example[],
  threads: number,
): Promise<{ network: Sized; dropped: number[] }> {
  const batches = await prunable.batches(rows, 'layers', threads)
  let now = network
  const left = [...Array(Number(network.sizes.layers)).keys()]
  const dropped: number[] = []
  while (dropped.length < count) {
    const losses: number[] = []
    for (const at of left.keys()) losses.push(await totalLoss(prunable, without(now, at), batches, threads))
    const at = losses.indexOf(Math.min(...losses))
    now = without(now, at)
    dropped.push(...left.splice(at, 1))
  }
  return { network: now, dropped: dropped.sort((a, b) => a - b) }
}

/** The network without its n-th layer; those after it move up. */
function without({ sizes, weights }: Sized, n: number): Sized {
  const kept = Object.entries(weights).flatMap(([path, tensor]) => {
    const layer = Number(inLayer.exec(path)?.[1] ?? -1)
    if (layer === n) return []
    return [[layer > n ? path.replace(inLayer, `layer.${layer - 1}/`) : path, tensor]]
  })
  return { sizes: { ...sizes, layers: Number(sizes.layers) - 1 }, weights: Object.fromEntries(kept) }
}

async function totalLoss(
  prunable: Prunable,
  { sizes, weights }: Sized,
  batches: readonly Record<string, ort.Tensor>[],
  threads: number,
): Promise<number> {
  const graph = new GraphBuilder()
  graph.output(prunable.loss(inferenceNetwork(graph, weights), sizes).loss, 'loss')
  const session = await openSession(writeModel(graph.build('loss')), threads)
  let sum = 0
  try {
    for (const batch of batches) sum += Number((await session.run(batch)).loss.data[0]) * batch.ids.dims[0]
  } finally {
    await session.release()
  }
  return sum
}
