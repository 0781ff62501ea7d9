import { Type } from '../../base/schema.ts'
import { findModel } from '../ask.ts'
import { route } from '../route.ts'

export const tag = 'openai'
const ByModel = Type.Object({ model: Type.String() })

export const seconds = (iso: string) => Math.floor(Date.parse(iso) / 1000)
const entry = (id: string, createdAt: string) => ({
  id,
  object: 'model' as const,
  created: seconds(createdAt),
  owned_by: 'athanor',
})

export const modelRoutes = [
  route('GET /v1/models', { summary: 'List models', permission: 'read', tag }, {}, async ({ registry }) => ({
    object: 'list',
    data: (await registry.list()).map(({ name, updatedAt }) => entry(name, updatedAt)),
  })),
  route(
    'GET /v1/models/:model',
    { summary: 'Show a model', permission: 'read', tag },
    { params: ByModel },
    async (house, { params }) => entry(params.model, (await findModel(house, params.model)).createdAt),
  ),
  route(
    'DELETE /v1/models/:model',
    { summary: 'Delete a model, or one version (name@3)', permission: 'write', tag },
    { params: ByModel },
    async (house, { params }) => {
      await findModel(house, params.model)
      await house.deployments.delete(params.model)
      return { id: params.model, object: 'model', deleted: true }
    },
  ),
]
