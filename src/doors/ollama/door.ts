import type { Door } from '../door.ts'
import { generateRoutes } from './generate.ts'
import { modelRoutes } from './models.ts'

/**
 * Ollama's API. Its paths begin with /api/ as our own do, so that it lies below /ollama; at a port of its own
 * (`--door ollama=11434`) it stands where its clients expect it. OpenAI's paths work there too, as they do with Ollama.
 */
export const ollama: Door = {
  name: 'ollama',
  prefixes: ['/ollama'],
  routes: [...modelRoutes, ...generateRoutes],
  failure: ({ message, hint }) => ({ body: { error: `${message}. ${hint}` } }),
  looseJson: true,
  ownPort: { mount: '/ollama', owns: /^\/(api\/.*)?$/ },
}
