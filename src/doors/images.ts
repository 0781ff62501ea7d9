import type { IncomingMessage } from 'node:http'
import { fail } from '../base/errors.ts'
import { Type } from '../base/schema.ts'
import { IMAGE_BYTES } from '../data/images/names.ts'
import { rank } from '../serve/rank.ts'
import { collect } from './body.ts'
import { counted } from './counted.ts'
import { type FormFile, readForm } from './form.ts'
import { callOf, route } from './route.ts'

/** What all image files of a request may weigh together. */
const TOTAL = 64 << 20

/** The image files of a form, whatever their fields are called. */
async function imagesOfForm(form: IncomingMessage, limit: number): Promise<Uint8Array[]> {
  let total = 0
  async function* counted(content: AsyncIterable<Buffer>) {
    for await (const part of content) {
      total += part.length
      if (total > TOTAL) throw fail('BODY_TOO_LARGE', { limit: TOTAL })
      yield part
    }
  }
  const take = ({ content }: FormFile) => collect(counted(content), IMAGE_BYTES)
  return (await readForm(form, form.headers, take, limit)).files
}

const Classification = Type.Object({
  model: Type.String(),
  version: Type.Integer(),
  requestId: Type.String(),
  /** For each image, labels best first. */
  outputs: Type.Array(Type.Array(Type.Object({ label: Type.String(), score: Type.Number() }))),
  timings: Type.Record(Type.String(), Type.Number()),
})

export const imageRoutes = [
  route(
    'POST /api/models/:model/images',
    {
      summary: 'Classify images: an image file as the body, or a form (multipart/form-data) with image files',
      permission: 'use',
      tag: 'predict',
      raw: ['application/octet-stream', 'image/*', 'multipart/form-data'],
    },
    {
      params: Type.Object({ model: Type.String() }),
      querystring: Type.Object(
        { topK: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })) },
        { additionalProperties: false },
      ),
      response: Classification,
    },
    async (house, { params, query, body, request, reply }) => {
      const call = callOf(request, reply)
      const content = body as unknown as IncomingMessage
      const form = request.headers['content-type']?.startsWith('multipart/form-data')
      const prediction = await counted(house, 'native', params.model, request.id, async () => {
        const images = form
          ? await imagesOfForm(content, house.config.batchLimit)
          : [await collect(content, IMAGE_BYTES)]
        return house.deployments.classifyImages(params.model, images, call)
      })
      const { model, version, manifest, output, timings, total } = prediction
      const { queue, pre, run, post } = timings
      const { probabilities } = output as Extract<typeof output, { kind: 'texts' | 'images' }>
      return {
        model,
        version,
        requestId: request.id,
        outputs: Array.from({ length: probabilities.length / manifest.labels.length }, (_, row) =>
          rank(manifest, probabilities, row, query.topK),
        ),
        timings: { queue, pre, run, post, total },
      }
    },
  ),
]
