import type { Door } from '../door.ts'
import { batchRoutes } from './batches.ts'
import { chatRoutes } from './chat.ts'
import { classifyRoutes } from './classify.ts'
import { completionRoutes } from './completions.ts'
import { embeddingRoutes } from './embeddings.ts'
import { openaiFailure } from './failure.ts'
import { fileRoutes } from './files.ts'
import { jobRoutes } from './jobs.ts'
import { modelRoutes } from './models.ts'
import { responseRoutes } from './responses.ts'

/** OpenAI's API, with what vLLM adds beside it. */
export const openai: Door = {
  name: 'openai',
  prefixes: ['/v1', '/classify', '/rerank', '/score'],
  routes: [
    ...modelRoutes,
    ...classifyRoutes,
    ...embeddingRoutes,
    ...fileRoutes,
    ...jobRoutes,
    ...batchRoutes,
    ...chatRoutes,
    ...completionRoutes,
    ...responseRoutes,
  ],
  failure: openaiFailure,
}
