// transformers.js behind Fastify with the encoder: node transformers-js.ts LIBRARY FOLDER PORT. One text a request, as its
// documentation shows; it has no batching across requests.
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fastify from 'fastify'

const [library, folder, port] = process.argv.slice(2)
const { env, pipeline } = await import(
  pathToFileURL(createRequire(join(library, 'x.js')).resolve('@huggingface/transformers')).href
)
env.allowRemoteModels = false
env.localModelPath = folder
const embed = await pipeline('feature-extraction', 'published', { dtype: 'fp32', device: 'cpu' })
const app = fastify()
app.post('/embed', async (request) => {
  const { data } = await embed((request.body as { text: string }).text, { pooling: 'none' })
  return { embedding: Array.from(data) }
})
await app.listen({ host: '127.0.0.1', port: Number(port) })
