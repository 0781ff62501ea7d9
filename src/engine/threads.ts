import { availableParallelism } from 'node:os'

/** Weights of products from which on a run is shared among threads: below, they wait for each other longer than they work. */
const LARGE = 1_000_000
const MOST = 8

/** How many threads suit a model of so many weights; those that are only looked up do not count. */
export const threadsFor = (weights: number) => (weights > LARGE ? Math.min(MOST, availableParallelism()) : 1)
