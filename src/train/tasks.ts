import type { Task } from './learner.ts'
import { textClassification } from './tasks/text-classification.ts'

/** Tasks by the name that a bundle's manifest gives them. */
export const tasks = {
  'text-classification': textClassification,
} as const satisfies Record<string, Task>
