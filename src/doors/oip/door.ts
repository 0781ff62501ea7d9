import type { Door } from '../door.ts'
import { parseBinaryBody } from './binary.ts'
import { generateRoutes } from './generate.ts'
import { oipRoutes } from './rest.ts'

/** The Open Inference Protocol, version 2: an error is one sentence. */
export const oip: Door = {
  name: 'oip',
  prefixes: ['/v2'],
  routes: [...oipRoutes, ...generateRoutes],
  failure: ({ message, hint }) => ({ body: { error: `${message}. ${hint}` } }),
  readOctets: (bytes, headers) => parseBinaryBody(bytes, headers['inference-header-content-length']),
}
