import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { AthanorError, fail } from '../base/errors.ts'

export interface FormFile {
  field: string
  /** The last part of the name that the client gave, without control characters. */
  filename: string
  type: string
  content: Readable
}

export interface Form<T> {
  fields: Record<string, string>
  files: T[]
}

/** Most fields of a form, most bytes of one, and most lines before a part. */
const limits = { fields: 100, fieldSize: 1 << 20, headerPairs: 50 }

/**
 * Reads a multipart form of at most `most` files; each file is handed to `take` as it comes, which must read it or fail. Throws BAD_REQUEST for
 * what is not a form, and what `take` throws.
 */
export async function readForm<T>(
  payload: Readable,
  headers: IncomingHttpHeaders,
  take: (file: FormFile) => Promise<T>,
  most = 16,
): Promise<Form<T>> {
  const { Busboy } = await import('@fastify/busboy')
  const refused = (reason: string) => fail('BAD_REQUEST', { message: `the form cannot be read: ${reason}` })
  const fields: Record<string, string> = Object.create(null)
  const files: Promise<T>[] = []
  const contents: Readable[] = []
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let parser: InstanceType<typeof Busboy>
  try {
    parser = new Busboy({
      headers: { ...headers, 'content-type': headers['content-type'] ?? '' },
      limits: { ...limits, files: most },
    })
  } catch (error) {
    throw refused((error as Error).message)
  }
  parser.on('field', (name: string, value: string, _nameCut: boolean, cut: boolean) => {
    if (cut) reject(refused(`field "${name.slice(0, 80)}" is over ${limits.fieldSize} bytes`))
    else fields[name] = value
  })
  parser.on(
    'file',
    (field: string, content: Readable, filename: string | undefined, _encoding: string, type: string) => {
      const name = (filename ?? '')
        .replace(/^.*[\\/]/, '')
        .replace(/\p{Cc}/gu, '')
        .slice(0, 200)
      content.on('error', () => undefined) // told by whoever reads it
      contents.push(content)
      const taken = take({ field, filename: name, type, content })
      taken.catch(reject)
      files.push(taken)
    },
  )
  for (const limit of ['fieldsLimit', 'filesLimit', 'partsLimit'] as const)
    parser.on(limit, () => reject(refused('it has too many parts')))
  parser.on('error', (error: unknown) => reject(refused((error as Error).message)))
  parser.once('finish', () => resolve())
  payload.once('error', (error) => reject(error))
  payload.once('close', () => {
    if (!payload.readableEnded) reject(refused('it is cut off'))
  })
  payload.pipe(parser)
  try {
    await promise
    return { fields, files: await Promise.all(files) }
  } catch (error) {
    payload.unpipe(parser)
    payload.resume()
    for (const content of contents) content.destroy(new Error('the form is cut off')) // whoever reads it must not wait
    await Promise.allSettled(files)
    throw error instanceof AthanorError ? error : refused('it is cut off')
  }
}
