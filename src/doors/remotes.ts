import { addRemote, RemoteSpec } from '../serve/remotes.ts'
import { detail, ModelDetail, Named } from './models.ts'
import { route } from './route.ts'

export const remoteRoutes = [
  route(
    'POST /api/models/:name/remote',
    {
      summary: 'Register a model of another server (OpenAI’s API or the Open Inference Protocol) as the next version',
      permission: 'admin',
      tag: 'models',
      status: 201,
    },
    { params: Named, body: RemoteSpec, response: ModelDetail },
    async (house, { params, body }) => detail(house, await addRemote(house, params.name, body)),
  ),
]
