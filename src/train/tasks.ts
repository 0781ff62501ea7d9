import type { Task } from './learner.ts'
import { textClassification } from './tasks/text-classification.ts'
import { textGeneration } from './tasks/text-generation.ts'

/** Tasks by the name that a bundle's manifest gives them. */
export const tasks = {
  'text-classification': textClassification,
  'text-generation': textGeneration,
} as const satisfies Record<string, Task>
