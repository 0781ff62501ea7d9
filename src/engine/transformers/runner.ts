import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { AthanorError, asAthanorError, fail } from '../../base/errors.ts'
import { type FieldKind, hubTaskOf } from '../../bundle/hub.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { readModel } from '../../graph/codec.ts'
import { type EngineAnswer, type EngineRequest, monotonic } from '../messages.ts'
import type { Runner } from '../runner.ts'
import { threadsFor } from '../threads.ts'
import { readWav } from './audio.ts'
import { keepBlank } from './blank.ts'
import { type Library, loadTransformers } from './library.ts'

type Files = Readonly<Record<string, string>>

/** Runs a folder of the Hugging Face hub with transformers.js, request by request: the library takes no batches of unlike inputs. */
export async function transformersRunner(
  { task, pipeline, parameters }: Manifest,
  files: Files,
  { threads = threadsFor(parameters), library: folder }: { threads?: number; library?: string },
): Promise<Runner> {
  const known = hubTaskOf(task)
  if (!known) throw fail('UNSUPPORTED', { what: `"${task}" by transformers.js`, instead: 'Use another engine.' })
  const library = await loadTransformers(folder)
  const { env } = library
  // what is not in the folder is not there: nothing is fetched, nothing is kept
  Object.assign(env, {
    allowRemoteModels: false,
    allowLocalModels: true,
    useFSCache: false,
    localModelPath: laid(files),
  })
  const session = { intraOpNumThreads: threads, interOpNumThreads: 1, logSeverityLevel: 4 }
  const run = await library
    .pipeline(task, 'model', { dtype: pipeline?.dtype ?? 'fp32', device: 'cpu', session_options: session })
    .catch((error: unknown) => {
      throw fail('MODEL_INVALID', { reason: 'transformers.js cannot load it' }, { cause: error })
    })
  let batches = 0

  async function answer(request: EngineRequest): Promise<EngineAnswer> {
    if (request.kind !== 'hub') throw fail('BAD_REQUEST', { message: `this model takes the inputs of ${task}` })
    const started = monotonic()
    const fields: readonly (readonly [string, FieldKind])[] = Object.entries(known!.inputs)
    const given = await Promise.all(fields.map(([name, kind]) => read(library, kind, request.input.inputs[name])))
    const { candidate_labels: labels, ...parameters } = request.input.parameters
    const ready = monotonic()
    const said = await run(...given, ...(labels === undefined ? [] : [labels]), parameters)
    const value = task === 'question-answering' ? located(said, given[1] as string) : await plain(library, said)
    batches++
    const timings = { queue: started - request.at, pre: ready - started, run: monotonic() - ready, post: 0, batch: 1 }
    return { id: request.id, output: { kind: 'hub', value }, timings }
  }

  return {
    get batches() {
      return batches
    },
    async *run(requests) {
      for (const request of requests)
        if (!request.withdrawn) yield await answer(request).catch((error) => refusal(request.id, error))
    },
  }
}

/** Answers with the place where each first stands in the context, which the library does not tell; -1 where it wrote it otherwise. */
function located(said: unknown, context: string): unknown {
  if (Array.isArray(said)) return said.map((one) => located(one, context))
  const answer = said as { answer: string; score: number }
  const words = answer.answer.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  const found = new RegExp(words.join('\\s*'), 'i').exec(context)
  return { ...answer, start: found?.index ?? -1, end: found ? found.index + found[0].length : -1 }
}

/** What the library throws of an input is the caller's to know, in one line without paths. */
function refusal(id: number, error: unknown): EngineAnswer {
  const reason = String((error as Error)?.message ?? error)
    .split('\n')[0]
    .replace(/\/\S+/g, '')
    .slice(0, 200)
  const known =
    error instanceof AthanorError
      ? error
      : fail('BAD_REQUEST', { message: `the model cannot run on this input: ${reason}` })
  const { code, details } = asAthanorError(known)
  return { id, error: { code, details } }
}

/**
 * A folder in which the files have their names, as links to where they are stored, the tokenizer as `keepBlank` has it; graphs are
 * read by our own reader before the library's native code sees them. Throws MODEL_INVALID.
 */
function laid(files: Files): string {
  const key = createHash('sha256')
    .update(JSON.stringify(Object.entries(files).sort()))
    .digest('hex')
    .slice(0, 32)
  const root = join(tmpdir(), 'athanor-engine', `hub-${key}`)
  for (const [name, path] of Object.entries(files)) {
    if (name.endsWith('.onnx')) readModel(readFileSync(path))
    const link = join(root, 'model', name)
    mkdirSync(dirname(link), { recursive: true })
    if (name === 'tokenizer.json') {
      const own = `${link}.${process.pid}`
      writeFileSync(own, keepBlank(readFileSync(path, 'utf8')))
      renameSync(own, link)
      continue
    }
    try {
      symlinkSync(path, link)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error // by an engine of the same files
    }
  }
  return root
}

async function read(library: Library, kind: FieldKind, value: string | Uint8Array): Promise<unknown> {
  if (typeof value === 'string') return value
  return kind === 'audio' ? readWav(value) : library.readImage(value)
}

/** An answer without the library's own classes: images as PNG in base64, tensors as lists. */
async function plain(library: Library, value: unknown): Promise<unknown> {
  if (value instanceof library.RawImage) return library.writePng(value)
  if (Array.isArray(value)) return Promise.all(value.map((one) => plain(library, one)))
  if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(async ([name, one]) => [name, await plain(library, one)] as const)
  return Object.fromEntries(await Promise.all(entries))
}
