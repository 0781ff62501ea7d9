// The engine's own process: runs one bundle's pipeline and graph, and answers what the control process sends.
import { readFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { asAthanorError, fail } from '../base/errors.ts'
import type { Window } from '../drift/sketch.ts'
import {
  type EngineAnswer,
  type EngineEvent,
  type EngineRequest,
  type FromEngine,
  monotonic,
  type ToEngine,
} from './messages.ts'
import { createRunner, type Runner } from './runner.ts'

/** Milliseconds without a message after which work that goes on is told of. */
const SILENCE = 1_000
/** Milliseconds for which tokens wait for others when their text is read only when all of it is there. */
const PATIENCE = 100

let runner: Runner | undefined
const waiting: EngineRequest[] = []
/** Requests that are being run. */
const rounds = new Set<EngineRequest[]>()
let answers: EngineAnswer[] = []
let events: EngineEvent[] = []
let patience: NodeJS.Timeout | undefined
let flushing: NodeJS.Immediate | undefined
const generations = new Map<number, AbortController>()

let sent = 0
const send = (message: FromEngine) => {
  sent = monotonic()
  process.send?.(message)
}

process.on('message', (message: ToEngine) => {
  if (message.type === 'requests') {
    for (const request of message.requests) {
      if (request.kind === 'generate') void generate(request)
      else waiting.push(request)
    }
    work()
  } else if (message.type === 'cancel') {
    generations.get(message.id)?.abort()
    for (const request of [...waiting, ...rounds].flat()) if (request.id === message.id) request.withdrawn = true
  } else if (message.type === 'load') void load(message)
  else if (message.type === 'prepare') void prepare(message)
  else {
    const { user, system } = process.cpuUsage()
    const stats = {
      rss: process.memoryUsage.rss(),
      cpuSeconds: (user + system) / 1e6,
      waiting: waiting.length + generations.size,
      batches: runner?.batches ?? 0,
    }
    send({ type: 'stats', id: message.id, stats })
  }
})
process.on('disconnect', () => process.exit(0)) // an engine does not outlive its parent

/** Reads ahead what most engines need, and has it compiled. */
async function prepare({ llama }: Extract<ToEngine, { type: 'prepare' }>) {
  const { warmUp } = await import('./session.ts')
  await Promise.all([
    warmUp(),
    import('tokenizers'),
    import('./runners/text-classification.ts'),
    import('./runners/feature-extraction.ts'),
    import('./runners/tensor.ts'),
  ]).catch(() => undefined) // what is amiss is told when it is needed
  flushCompileCache() // engines are killed
  if (llama === undefined) return
  const [{ openLibrary }] = await Promise.all([import('./llama/library.ts'), import('./llama/runner.ts')])
  await openLibrary(llama).catch(() => undefined)
}

async function load({ manifest, files, threads, tokenBudget, library }: Extract<ToEngine, { type: 'load' }>) {
  try {
    const read = (name: string) => readFileSync(files[name])
    const onWindow = (window: Window) => send({ type: 'window', window })
    const onStep = () => {
      if (monotonic() - sent > SILENCE) send({ type: 'alive' })
    }
    const given = { ...(threads !== undefined && { threads }), ...(library !== undefined && { library }) }
    const options = { tokenBudget, paths: files, onWindow, onStep, ...given }
    if (manifest.engine === 'llama')
      runner = await (await import('./llama/runner.ts')).llamaRunner(manifest, files['model.gguf'], options)
    else if (manifest.engine === 'transformers')
      runner = await (await import('./transformers/runner.ts')).transformersRunner(manifest, files, options)
    else runner = await createRunner(manifest, read, options)
    send({ type: 'ready' })
    flushCompileCache()
  } catch (error) {
    send({ type: 'failed', error: describe(error) })
  }
}

/**
 * Works off what is waiting, each lane no more than its share of all that is there. A run takes a while, so whatever arrives
 * meanwhile becomes the next round: batches grow with load, and nobody waits for a timer.
 */
function work() {
  if (waiting.length > 1) runner?.widen?.()
  const lanes = runner?.lanes ?? 1
  let all = waiting.length
  for (const round of rounds) all += round.length
  const share = Math.ceil(all / lanes)
  while (waiting.length > 0 && rounds.size < lanes) void run(waiting.splice(0, share))
}

async function run(round: EngineRequest[]) {
  const alone = rounds.size === 0 && waiting.length === 0
  rounds.add(round)
  const wanted = round.filter(({ withdrawn }) => !withdrawn)
  for await (const answer of runner!.run(wanted, alone)) {
    answers.push(answer)
    if (answers.length === 1) setImmediate(flush)
  }
  flush() // now: another turn of the event loop would add to each answer
  // let the channel be read before the next round is formed
  await new Promise((resolve) => setImmediate(resolve))
  rounds.delete(round)
  work()
}

/** Runs one generation beside others; the runner shares its steps among them. */
async function generate({ id, generation }: Extract<EngineRequest, { kind: 'generate' }>) {
  const stop = new AbortController()
  generations.set(id, stop)
  try {
    if (!runner?.generate)
      throw fail('UNSUPPORTED', { what: 'generation by this model', instead: 'Use its predict route.' })
    for await (const event of runner.generate(generation, stop.signal))
      tell({ id, event }, generation.whole && event.type === 'token')
  } catch (error) {
    tell({ id, error: describe(error) })
  } finally {
    generations.delete(id)
  }
}

function tell(event: EngineEvent, patient = false) {
  events.push(event)
  if (patient) patience ??= setTimeout(flushEvents, PATIENCE)
  else flushing ??= setImmediate(flushEvents)
}

function flushEvents() {
  clearTimeout(patience)
  clearImmediate(flushing)
  patience = flushing = undefined
  send({ type: 'events', events, batches: runner?.batches ?? 0 })
  events = []
}

function flush() {
  if (answers.length === 0) return
  send({ type: 'answers', answers, batches: runner?.batches ?? 0 })
  answers = []
}

export function describe(error: unknown) {
  const { code, details } = asAthanorError(error)
  return { code, details }
}
