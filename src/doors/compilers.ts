import { createRequire } from 'node:module'
import type AjvCompiler from '@fastify/ajv-compiler'
import type { SerializerSelector } from '@fastify/fast-json-stringify-compiler'

const require = createRequire(import.meta.url)

/**
 * Fastify's own compilers of schemas, but each is loaded, and each route's schema compiled, when it is first used: to do
 * that for all routes takes a quarter of the server's start.
 */
export const lazyCompilers = {
  buildValidator: ((schemas, options) => {
    const compile = once(() => (require('@fastify/ajv-compiler') as typeof AjvCompiler)()(schemas, options))
    return (route) => {
      const made = once(() => compile()(route))
      const validate = Object.assign(
        (data: unknown) => {
          const valid = made()(data)
          validate.errors = made().errors // where Fastify looks for what is wrong
          return valid
        },
        { errors: undefined as ReturnType<typeof made>['errors'] },
      )
      return validate
    }
  }) as ReturnType<typeof AjvCompiler>,
  buildSerializer: ((schemas, options) => {
    const compile = once(() =>
      (require('@fastify/fast-json-stringify-compiler') as typeof SerializerSelector)()(schemas, options),
    )
    return (route) => {
      const made = once(() => compile()(route))
      return (data: unknown) => made()(data)
    }
  }) as ReturnType<typeof SerializerSelector>,
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => {
    made ??= { value: make() }
    return made.value
  }
}
