import { fail } from '../../base/errors.ts'
import { type EngineAnswer, type EngineRequest, monotonic } from '../messages.ts'
import type { Runner } from '../runner.ts'
import { failure } from '../session.ts'
import { checkIds } from '../token-ids.ts'
import { type EmbeddingContext, type Model, vocabularySize } from './library.ts'

/** A text to embed. */
interface Job {
  readonly tokens: readonly number[]
  readonly vector: PromiseWithResolvers<Float32Array>
}

/**
 * Vectors of texts, of length one. A context reads one text at a time, since the library gives the vector of the first sequence of a
 * batch only; so there are several, up to one a thread, among which the library shares the threads. They take `memory` bytes
 * together, unless one alone takes more.
 */
export async function embedder(model: Model, contextSize: number, threads: number, memory: number): Promise<Runner> {
  const sizes = { contextSize, sequences: 1, modelGpuLayers: 0, isEmbeddingContext: true }
  const { cpuRam } = await model.fileInsights.estimateContextResourceRequirementsV2(sizes)
  const count = Math.max(1, Math.min(threads, Math.floor(memory / cpuRam)))
  const contexts: EmbeddingContext[] = []
  while (contexts.length < count) contexts.push(await model.createEmbeddingContext({ contextSize, threads }))
  let batches = 0

  /** Throws BAD_REQUEST and PROMPT_TOO_LONG. */
  function read(request: EngineRequest): Job[] {
    if (request.kind !== 'texts') throw fail('BAD_REQUEST', { message: 'this model takes texts to embed' })
    const { ids, texts } = request
    return texts.map((text, i) => {
      if (ids) checkIds(ids[i], vocabularySize(model))
      const tokens = ids?.[i] ?? model.tokenize(text, false)
      if (tokens.length >= contextSize) throw fail('PROMPT_TOO_LONG', { tokens: tokens.length, limit: contextSize })
      return { tokens, vector: Promise.withResolvers<Float32Array>() }
    })
  }

  async function work(context: EmbeddingContext, jobs: Iterator<Job>) {
    for (let next = jobs.next(); !next.done; next = jobs.next()) {
      const { tokens, vector } = next.value
      batches++
      await context
        .getEmbeddingFor(tokens)
        .then((found) => vector.resolve(unit(Float32Array.from(found.vector))), vector.reject)
    }
  }

  async function answer({ id, at }: EngineRequest, jobs: readonly Job[], started: number, ready: number) {
    const rows = await Promise.all(jobs.map(({ vector }) => vector.promise))
    const width = rows[0].length
    const vectors = new Float32Array(rows.length * width)
    for (const [row, vector] of rows.entries()) vectors.set(vector, row * width)
    const tokens = jobs.reduce((sum, job) => sum + job.tokens.length, 0)
    const timings = { queue: started - at, pre: ready - started, run: monotonic() - ready, post: 0, batch: 1 }
    return { id, output: { kind: 'vectors', vectors, width, tokens }, timings } satisfies EngineAnswer
  }

  return {
    get batches() {
      return batches
    },
    async *run(requests) {
      const started = monotonic()
      const asked: { request: EngineRequest; jobs: Job[] }[] = []
      for (const request of requests) {
        try {
          asked.push({ request, jobs: read(request) })
        } catch (error) {
          yield failure(request.id, error)
        }
      }
      const ready = monotonic()
      const jobs = asked.flatMap((one) => one.jobs).values()
      for (const context of contexts) void work(context, jobs)
      const answers = asked.map((one) =>
        answer(one.request, one.jobs, started, ready).catch((error) => failure(one.request.id, error)),
      )
      for (const one of answers) yield await one
    },
  }
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector) || 1
  return vector.map((value) => value / length)
}
