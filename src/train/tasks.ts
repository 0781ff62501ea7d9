import type { Task } from './learner.ts'
import { featureExtraction } from './tasks/feature-extraction.ts'
import { fillMask } from './tasks/fill-mask.ts'
import { imageClassification } from './tasks/image-classification.ts'
import { tensorLearning } from './tasks/tensor.ts'
import { textClassification } from './tasks/text-classification.ts'
import { textGeneration } from './tasks/text-generation.ts'
import { tokenClassification } from './tasks/token-classification.ts'

/** Tasks by the name that a bundle's manifest gives them. */
export const tasks = {
  'text-classification': textClassification,
  'token-classification': tokenClassification,
  'feature-extraction': featureExtraction,
  'fill-mask': fillMask,
  'text-generation': textGeneration,
  'image-classification': imageClassification,
  tensor: tensorLearning,
} as const satisfies Record<string, Task>
