import * as o from '../graph/ops.ts'
import type { ClassifierConfig, TextFamily } from './family.ts'

/** A network among several: its family, and the options that it was built with. */
export interface Member {
  readonly family: TextFamily
  readonly options: Omit<ClassifierConfig, 'vocabulary' | 'classes'>
}

/** Where the parameters of a member are, counted from 0. */
export const memberScope = (at: number) => `member.${at}`

/** The mean of what several networks over the same inputs answer, for those that learnt one by one: unlike ones err in unlike places. */
export const meanOf = (members: readonly Member[]): TextFamily => ({
  task: 'text-classification',
  description: 'the mean of several networks',
  options: {},
  build(network, ids, lengths, { vocabulary, classes }) {
    const answers = members.map(({ family, options }, at) =>
      family.build(network.scope(memberScope(at)), ids, lengths, { ...options, vocabulary, classes }),
    ) // (batch, classes) each
    return o.within(network.graph, () => o.mul(answers.reduce(o.add), 1 / members.length))
  },
})
