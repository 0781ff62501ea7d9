import type { Readable } from 'node:stream'
import { fail } from '../../base/errors.ts'
import { Type } from '../../base/schema.ts'
import type { DatasetRecord } from '../../store/datasets.ts'
import { readForm } from '../form.ts'
import { route } from '../route.ts'
import { seconds, tag } from './models.ts'
import { page } from './page.ts'

/** What a file can be uploaded for; `train` is what the platform's own uploads are for. */
const purposes = ['fine-tune', 'batch', 'user_data', 'evals'] as const
const ById = Type.Object({ file: Type.String() })

const shown = (purpose: string) => (purpose === 'train' ? 'fine-tune' : purpose)
const entry = ({ id, filename, bytes, createdAt, purpose }: DatasetRecord) => ({
  id,
  object: 'file',
  bytes,
  created_at: seconds(createdAt),
  filename,
  purpose: shown(purpose),
  status: 'processed',
})

/** Files are data sets: what is uploaded here can be trained on through every door, and the other way round. */
export const fileRoutes = [
  route(
    'POST /v1/files',
    { summary: 'Upload a file', permission: 'write', tag, raw: ['multipart/form-data'] },
    {},
    async ({ datasets, config }, { request, body }) => {
      if (!request.headers['content-type']?.startsWith('multipart/form-data'))
        throw fail('BAD_REQUEST', { message: 'expected multipart/form-data with "file" and "purpose"' })
      const { fields, files } = await readForm(body as unknown as Readable, request.headers, ({ filename, content }) =>
        datasets.add(filename || 'file.jsonl', content, config.uploadLimit),
      )
      const [file] = files
      const { purpose = '' } = fields
      const refuse = async (message: string, param: string) => {
        for (const { id } of files) await datasets.delete(id)
        throw fail('BAD_REQUEST', { message, param })
      }
      if (!file || files.length > 1) return refuse(`expected one file, got ${files.length}`, 'file')
      if (!(purposes as readonly string[]).includes(purpose))
        return refuse(`purpose: expected one of ${purposes.join(', ')}, got "${purpose.slice(0, 40)}"`, 'purpose')
      return entry(await datasets.setPurpose(file.id, purpose))
    },
  ),
  route(
    'GET /v1/files',
    { summary: 'List files', permission: 'read', tag },
    {
      querystring: Type.Object({
        purpose: Type.Optional(Type.String()),
        limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
        order: Type.Optional(Type.Union([Type.Literal('asc'), Type.Literal('desc')])),
        after: Type.Optional(Type.String()),
      }),
    },
    async ({ datasets }, { query: { purpose, order, ...query } }) => {
      const all = (await datasets.list()).map(entry).filter((file) => purpose === undefined || file.purpose === purpose)
      return page(order === 'asc' ? all.reverse() : all, { limit: 10_000, ...query })
    },
  ),
  route(
    'GET /v1/files/:file',
    { summary: 'Show a file', permission: 'read', tag },
    { params: ById },
    async ({ datasets }, { params }) => entry(await datasets.get(params.file)),
  ),
  route(
    'GET /v1/files/:file/content',
    { summary: 'Download a file', permission: 'read', tag },
    { params: ById },
    async ({ datasets }, { params, reply }) => {
      const { bytes } = await datasets.get(params.file)
      reply.header('content-length', bytes).type('application/octet-stream')
      return datasets.open(params.file)
    },
  ),
  route(
    'DELETE /v1/files/:file',
    { summary: 'Delete a file', permission: 'write', tag },
    { params: ById },
    async ({ datasets, registry }, { params }) => {
      await datasets.delete(params.file)
      await registry.collectGarbage()
      return { id: params.file, object: 'file', deleted: true }
    },
  ),
]
