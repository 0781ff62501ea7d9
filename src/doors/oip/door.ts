import type { Door } from '../door.ts'
import { readBinaryBody } from './binary.ts'
import { generateRoutes } from './generate.ts'
import { oipRoutes } from './rest.ts'

/** The Open Inference Protocol, version 2: an error is one sentence. */
export const oip: Door = {
  name: 'oip',
  prefixes: ['/v2'],
  routes: [...oipRoutes, ...generateRoutes],
  failure: ({ message, hint }) => ({ body: { error: `${message}. ${hint}` } }),
  readOctets: (content, headers, limit) => readBinaryBody(content, headers['inference-header-content-length'], limit),
}
