import type { Task } from './learner.ts'
import { imageClassification } from './tasks/image-classification.ts'
import { textClassification } from './tasks/text-classification.ts'

/** Tasks by the name that a bundle's manifest gives them. */
export const tasks = {
  'text-classification': textClassification,
  'image-classification': imageClassification,
} as const satisfies Record<string, Task>
