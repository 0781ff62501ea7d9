import { defaultTolerance } from './gate/goal.ts'
import { measures } from './gate/measures.ts'
import type { Pass } from './pass.ts'
import { passes } from './passes.ts'

/** Every pass with its description and options, what the gate measures, and the tolerance that holds by default. */
export const describePasses = () => ({
  passes: Object.entries<Pass>(passes).map(([name, { description, options }]) => ({ name, description, options })),
  measures: Object.entries(measures).map(([name, measure]) => ({ name, ...measure })),
  tolerance: defaultTolerance,
})
