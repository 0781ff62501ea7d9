import { Type } from '../../base/schema.ts'
import { route } from '../route.ts'

const Ref = Type.Object({ model: Type.String() })
const Snippet = Type.Object({ door: Type.String(), language: Type.String(), code: Type.String() })

export const snippetRoutes = [
  route(
    'GET /api/models/:model/snippets',
    {
      summary: 'Calls of a model to copy: curl, TypeScript and Python for each protocol',
      permission: 'read',
      tag: 'models',
    },
    { params: Ref, response: Type.Object({ snippets: Type.Array(Snippet) }) },
    async ({ deployments, url }, { params }) => {
      const { snippetsOf } = await import('./snippets.ts')
      return { snippets: snippetsOf(await deployments.resolve(params.model), url()) }
    },
  ),
  route(
    'GET /api/models/:model/client',
    {
      summary: 'A module of TypeScript that calls a version with the types of its signature',
      permission: 'read',
      tag: 'models',
    },
    { params: Ref },
    async ({ deployments, url }, { params, reply }) => {
      const { typedClient } = await import('./typed-client.ts')
      reply.type('text/plain; charset=utf-8')
      return typedClient(await deployments.resolve(params.model), url())
    },
  ),
]
