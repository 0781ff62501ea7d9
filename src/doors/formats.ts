import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fail } from '../base/errors.ts'
import { checkName } from '../base/ids.ts'
import { type Static, Type } from '../base/schema.ts'
import { convert } from '../formats/convert.ts'
import { fetchModel, publisherOf } from '../formats/fetched.ts'
import { formats } from '../formats/formats.ts'
import { ImportOptions } from '../formats/options.ts'
import { detail, ModelDetail, Named, Ref } from './models.ts'
import { abortWith, type House, route } from './route.ts'

/** Milliseconds that a request fetches before it tells how far it came. */
const FETCH_FOR = 20_000

const Digest = Type.String({ pattern: '^[0-9a-f]{64}$', description: 'sha256 of the content, in hex' })
const Transfer = Type.Object({ digest: Digest, bytes: Type.Integer(), offset: Type.Integer() })
const SentFile = Type.Object(
  { name: Type.String({ minLength: 1, maxLength: 300 }), digest: Digest },
  { additionalProperties: false },
)
const { tokenizer: _tokenizer, ...importFields } = ImportOptions.properties
const ImportBody = Type.Object(
  {
    files: Type.Array(SentFile, { minItems: 1, maxItems: 10_000 }),
    ...importFields,
    /** sha256 of the JSON of a Keras Tokenizer that was sent as well. */
    tokenizer: Type.Optional(Digest),
  },
  { additionalProperties: false },
)
const FetchBody = Type.Object(
  {
    from: Type.String({
      minLength: 4,
      maxLength: 300,
      description: '`hf:OWNER/NAME[@revision][#path]` or `npm:<package>@<version>[#path]`',
    }),
    format: Type.Optional(Type.String({ maxLength: 40 })),
  },
  { additionalProperties: false },
)
const File = Type.Object({ name: Type.String(), digest: Digest, bytes: Type.Integer() })
const FetchedFiles = Type.Object({
  /** Those that are all here. */
  files: Type.Array(File),
  source: Type.String({
    description: 'The address with its commit: what is asked for again, and what the lineage tells',
  }),
  missing: Type.Integer({ description: 'Bytes that are not here yet' }),
})
const ExportBody = Type.Object(
  {
    format: Type.String({ maxLength: 40 }),
    opset: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
    externalData: Type.Optional(Type.Boolean()),
    keepOperators: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
)
const Exported = Type.Object({
  model: Type.String(),
  version: Type.Integer(),
  format: Type.String(),
  files: Type.Array(File),
})

const tag = 'formats'
const uploadLimit = ({ config }: House) => config.uploadLimit

/** Fetches from where the operator allows it; what a request did not come to goes on with the next. */
async function fetchInto(
  house: House,
  { from, format }: Static<typeof FetchBody>,
  gone: AbortSignal,
): Promise<Static<typeof FetchedFiles>> {
  const publisher = publisherOf(from)
  if (publisher === undefined)
    throw fail('OPTION_INVALID', { option: 'from', reason: `expected hf:… or npm:…, got "${from.slice(0, 80)}"` })
  if (!house.config.fetch.includes(publisher)) throw fail('FETCH_FORBIDDEN', { publisher })
  const until = performance.now() + FETCH_FOR
  async function* inTime(content: AsyncIterable<Uint8Array>) {
    for await (const piece of content) {
      yield piece
      if (performance.now() > until || gone.aborted) return
    }
  }
  const { transfers } = house
  const { files, ...rest } = await fetchModel(
    from,
    {
      begin: (digest, bytes) => transfers.begin(digest, bytes),
      send: (part, content) => transfers.append(part, inTime(content), uploadLimit(house)),
    },
    format,
  )
  return { ...rest, files: [...files] }
}

export const formatRoutes = [
  route(
    'GET /api/formats',
    { summary: 'Formats that models are read from and written to', permission: 'read', tag },
    {},
    async () => ({
      formats: formats.map(({ name, title, files, read, readBundle, write, writeBundle, out, in: into }) => ({
        name,
        title,
        files,
        reads: (read ?? readBundle) !== undefined,
        writes: (write ?? writeBundle) !== undefined,
        out,
        in: into,
      })),
    }),
  ),
  route(
    'POST /api/files',
    { summary: 'Announce a file to be sent: how much of it is here already', permission: 'write', tag },
    {
      body: Type.Object({ digest: Digest, bytes: Type.Integer({ minimum: 0 }) }, { additionalProperties: false }),
      response: Transfer,
    },
    async ({ transfers }, { body }) => transfers.begin(body.digest, body.bytes),
  ),
  route(
    'POST /api/files/fetch',
    {
      summary: 'Fetch the files of a published model, for as long as a request may take; ask again for what is missing',
      permission: 'write',
      tag,
    },
    { body: FetchBody, response: FetchedFiles },
    async (house, { body, reply }) => fetchInto(house, body, abortWith(reply)),
  ),
  route(
    'PUT /api/files/:digest',
    { summary: 'Send a file, or go on with it from the byte where it stopped', permission: 'write', tag, raw: true },
    {
      params: Type.Object({ digest: Digest }),
      querystring: Type.Object(
        { offset: Type.Integer({ minimum: 0 }), bytes: Type.Integer({ minimum: 0 }) },
        { additionalProperties: false },
      ),
      response: Transfer,
    },
    async (house, { params, query, body }) =>
      house.transfers.append({ ...params, ...query }, body as unknown as AsyncIterable<Uint8Array>, uploadLimit(house)),
  ),
  route(
    'GET /api/files/:digest',
    { summary: 'Download a file of an export; Range asks for the rest of it', permission: 'read', tag },
    { params: Type.Object({ digest: Digest }) },
    async ({ transfers }, { params, request, reply }) => {
      const { path, bytes } = await transfers.find(params.digest)
      const asked = /^bytes=(\d{1,15})-$/.exec(request.headers.range ?? '')
      const start = asked && Number(asked[1]) < bytes ? Number(asked[1]) : 0
      if (start > 0) reply.code(206).header('content-range', `bytes ${start}-${bytes - 1}/${bytes}`)
      reply
        .header('accept-ranges', 'bytes')
        .header('content-length', bytes - start)
        .type('application/octet-stream')
      return createReadStream(path, { start })
    },
  ),
  route(
    'POST /api/models/:name/import',
    { summary: 'Register a model from files of another format that were sent', permission: 'write', tag, status: 201 },
    { params: Named, body: ImportBody, response: ModelDetail },
    async (house, { params, body }) => {
      checkName(params.name)
      const { files: sent, tokenizer, ...options } = body
      const files: Record<string, string> = {}
      for (const { name, digest } of sent) {
        if (Object.hasOwn(files, name)) throw fail('BAD_REQUEST', { message: `two files named "${name.slice(0, 80)}"` })
        files[name] = (await house.transfers.find(digest)).path
      }
      const json = tokenizer && (await readFile((await house.transfers.find(tokenizer)).path, 'utf8'))
      return convert(
        { kind: 'import', files, options: { ...options, ...(json !== undefined && { tokenizer: json }) } },
        async (result) => detail(house, await house.registry.register(params.name, result.manifest!, result.files)),
      )
    },
  ),
  route(
    'POST /api/models/:model/export',
    { summary: 'Write a version in another format; its files can then be downloaded', permission: 'read', tag },
    { params: Ref, body: ExportBody, response: Exported },
    async ({ deployments, registry, transfers }, { params, body }) => {
      const { name, version, ...resolved } = await deployments.resolve(params.model)
      const { format, ...options } = body
      const paths = await registry.checkout({ name, version, ...resolved })
      return convert(
        { kind: 'export', files: paths, manifest: resolved.manifest, format, options },
        async ({ files }) => {
          const taken: { name: string; digest: string; bytes: number }[] = []
          for (const [file, path] of Object.entries(files)) taken.push({ name: file, ...(await transfers.take(path)) })
          return { model: name, version, format, files: taken }
        },
      )
    },
  ),
]
