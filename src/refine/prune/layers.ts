import type { Sample } from '../../data/samples.ts'
import { runOn } from '../compare.ts'
import { feedsFor } from '../inputs.ts'
import type { Subject } from '../subject.ts'
import { rebuilt, type Trained } from './network.ts'

/** `layer.3/…` of a Transformer: which parameters belong to a layer. */
const inLayer = /^layer\.(\d+)\//

/**
 * Takes whole layers out of a Transformer, one after another: each time that without which the mean loss on the rows is
 * lowest. Returns the network and the layers that went, by their first numbers.
 */
export async function dropLayers(
  subject: Subject,
  trained: Trained,
  count: number,
  rows: readonly Sample[],
  threads: number,
): Promise<{ trained: Trained; dropped: number[] }> {
  const feeds = await feedsFor(subject, rows)
  const labels = feeds.flatMap((batch) => batch.rows.map((row) => subject.manifest.labels.indexOf(rows[row].label)))
  const lossOf = async (network: Trained) => {
    const said = await runOn(rebuilt(subject, network).model, feeds, threads)
    const losses = said.rows.map((logits, row) => crossEntropy(logits, labels[row]))
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length
  }
  let now = trained
  const left = [...Array(Number(trained.options.layers)).keys()]
  const dropped: number[] = []
  while (dropped.length < count) {
    const losses: number[] = []
    for (const at of left.keys()) losses.push(await lossOf(without(now, at)))
    const at = losses.indexOf(Math.min(...losses))
    now = without(now, at)
    dropped.push(...left.splice(at, 1))
  }
  return { trained: now, dropped: dropped.sort((a, b) => a - b) }
}

/** The network without its n-th layer; those after it move up. */
function without(network: Trained, n: number): Trained {
  const weights = Object.fromEntries(
    Object.entries(network.weights).flatMap(([path, tensor]) => {
      const layer = Number(inLayer.exec(path)?.[1] ?? -1)
      if (layer === n) return []
      return [[layer > n ? path.replace(inLayer, `layer.${layer - 1}/`) : path, tensor]]
    }),
  )
  return { ...network, weights, options: { ...network.options, layers: Number(network.options.layers) - 1 } }
}

function crossEntropy(logits: Float32Array, label: number): number {
  const most = Math.max(...logits)
  return Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0)) + most - logits[label]
}
