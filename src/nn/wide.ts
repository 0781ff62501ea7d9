import * as o from '../graph/ops.ts'
import { bow } from './bow.ts'
import type { ClassifierConfig, TextFamily } from './family.ts'
import { textcnn } from './textcnn.ts'

/** Where the parameters of the bag are; those of the convolutions are where they are without one. */
const BAG = 'phrases'

/** What the bag's answers count: its entries start near zero, and learn at the pace of the convolutions as slowly as these may. */
const SHARE = 3

const bagOf = (config: ClassifierConfig): ClassifierConfig => ({
  ...config,
  width: config.bagWidth,
  weighting: 'rarity',
})

/**
 * A TextCNN and a bag of n-grams by their rarity whose answers are added and learnt together (wide and deep, Cheng et al.
 * 2016): the table remembers phrases, the convolutions judge those that were never met.
 */
export const wide: Pick<TextFamily, 'build' | 'counted'> = {
  build(network, ids, lengths, config) {
    const met = bow.build(network.scope(BAG), ids, lengths, bagOf(config)) // (batch, classes)
    const judged = textcnn(network, ids, lengths, config) // (batch, classes)
    return o.within(network.graph, () => o.add(o.mul(met, SHARE), judged))
  },
  counted(config) {
    const bag = bagOf(config)
    const { parameter, size, features } = bow.counted!(bag)!
    return { parameter: `${BAG}/${parameter}`, size, features: (ids, lengths) => features(ids, lengths, bag) }
  },
}
