import { accessRoutes } from './access.ts'
import type { Door } from './door.ts'
import { formatRoutes } from './formats.ts'
import { generateRoutes } from './generate.ts'
import { imageRoutes } from './images.ts'
import { modelRoutes } from './models.ts'
import { datasetRoutes, platformRoutes, runRoutes } from './platform.ts'
import { predictRoutes } from './predict.ts'
import { registryRoutes } from './registry.ts'
import { remoteRoutes } from './remotes.ts'
import { rolloutRoutes } from './rollouts.ts'
import { snippetRoutes } from './snippets/routes.ts'
import { watchRoutes } from './watching.ts'

/** The platform's own protocol, which the SDK, the CLI and the console speak. */
export const native: Door = {
  name: 'native',
  prefixes: ['/'],
  routes: [
    ...platformRoutes,
    ...modelRoutes,
    ...registryRoutes,
    ...remoteRoutes,
    ...formatRoutes,
    ...snippetRoutes,
    ...predictRoutes,
    ...rolloutRoutes,
    ...imageRoutes,
    ...generateRoutes,
    ...datasetRoutes,
    ...runRoutes,
    ...watchRoutes,
    ...accessRoutes,
  ],
  failure: (error, requestId) => ({ body: { error: { ...error.toJSON(), requestId } } }),
}
