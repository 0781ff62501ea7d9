import Fastify from 'fastify'
import { version } from '../base/version.ts'
import { lazyCompilers } from './compilers.ts'
import type { Route } from './route.ts'

/** A route's schemas and what is said of it, as Fastify takes them. */
export const schemaOf = ({ summary, tag, status, raw, schemas: { body, params, querystring, response } }: Route) => ({
  summary,
  tags: [tag],
  ...(body && { body }),
  ...(params && { params }),
  ...(querystring && { querystring }),
  ...(response && { response: { [status]: response } }),
  ...(raw && { consumes: raw === true ? ['application/octet-stream'] : [...raw] }),
})

/** Routes as an OpenAPI document, made of a server that never listens: what makes it is loaded when it is asked for. */
export async function describe(routes: readonly Route[]): Promise<object> {
  const { default: swagger } = await import('@fastify/swagger')
  const app = Fastify({ schemaController: { compilersFactory: lazyCompilers } })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Athanor', version, description: 'Train, register, serve and watch models.' },
    },
  })
  for (const one of routes) app.route({ method: one.method, url: one.path, schema: schemaOf(one), handler: () => {} })
  await app.ready()
  return app.swagger()
}
