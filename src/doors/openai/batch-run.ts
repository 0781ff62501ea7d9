import { createInterface } from 'node:readline'
import type { FastifyInstance } from 'fastify'
import { asAthanorError } from '../../base/errors.ts'
import { newId } from '../../base/ids.ts'
import { Batches } from '../../store/batches.ts'
import { DEPTH_LIMIT, isShallow } from '../requests.ts'
import type { House } from '../route.ts'

/** Lines that are answered at the same time, lines of a file, and characters of one. */
const AT_ONCE = 8
const LINES = 50_000
const LINE_LIMIT = 4 << 20
/** How often a line is asked again where the server is busy, and milliseconds before the first time. */
const TRIES = 6
const PAUSE = 250

interface Line {
  customId: string
  body: object
}

/** What is wrong with a line; undefined if nothing is. */
function problemOf(value: unknown, endpoint: string, seen: Set<string>): [code: string, message: string] | undefined {
  const { custom_id: id, method, url, body } = (value ?? {}) as Record<string, unknown>
  if (typeof id !== 'string' || id === '' || id.length > 512) return ['missing_custom_id', 'custom_id: expected a text']
  if (seen.has(id)) return ['duplicate_custom_id', `custom_id: "${id.slice(0, 80)}" was there before`]
  if (method !== 'POST') return ['invalid_method', 'method: expected POST']
  if (url !== endpoint) return ['mismatched_endpoint', `url: expected ${endpoint}, as the batch has it`]
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    return ['invalid_body', 'body: expected an object']
  if ((body as { stream?: unknown }).stream) return ['invalid_body', 'body.stream: an answer of a batch is no stream']
  if (!isShallow(body)) return ['invalid_body', `body: nested deeper than ${DEPTH_LIMIT}`]
  seen.add(id)
  return undefined
}

async function readLines({ datasets }: House, file: string, endpoint: string) {
  const lines: Line[] = []
  const errors: { code: string; message: string; line: number }[] = []
  const seen = new Set<string>()
  let number = 0
  for await (const text of createInterface({ input: await datasets.open(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    number++
    if (text.trim() === '') continue
    const wrong = (code: string, message: string) => errors.push({ code, message, line: number })
    if (errors.length >= 100) break
    if (lines.length >= LINES) {
      wrong('too_many_requests', `at most ${LINES} lines`)
      break
    }
    let value: unknown
    try {
      if (text.length <= LINE_LIMIT) value = JSON.parse(text)
    } catch {
      // told below
    }
    if (value === undefined) {
      wrong('invalid_json_line', 'this line is not JSON, or too long')
      continue
    }
    const problem = problemOf(value, endpoint, seen)
    if (problem) wrong(...problem)
    else lines.push({ customId: (value as { custom_id: string }).custom_id, body: (value as { body: object }).body })
  }
  if (number === 0) errors.push({ code: 'empty_file', message: 'The file has no lines.', line: 0 })
  return { lines, errors }
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** Headers that say who calls, for which tenant, and how: a line is asked with those that its batch came with. */
const ofCaller = [
  'authorization',
  'api-key',
  'x-api-key',
  'x-athanor-tenant',
  'athanor-key',
  'athanor-deadline',
] as const

/**
 * Answers the lines of a batch by the routes that they name, as the caller who sent it: with that key's limits and
 * accounts. What a line asks wrongly becomes a line of the errors' file.
 */
async function runBatch(house: House, server: FastifyInstance, id: string, caller: Headers) {
  const batches = new Batches(house.store)
  const { endpoint, input } = await batches.get(id)
  const { lines, errors } = await readLines(house, input, endpoint)
  const counts = { total: lines.length, completed: 0, failed: 0 }
  if (errors.length > 0) return void (await batches.update(id, { status: 'failed', errors }))
  await batches.update(id, { status: 'in_progress', counts })
  const [good, bad]: [string[], string[]] = [[], []]
  let cancelled = false
  let at = 0
  const worker = async () => {
    while (at < lines.length && !cancelled) {
      const { customId, body } = lines[at++]
      const answer = await ask(server, endpoint, body, caller)
      const head = { id: newId('batch_req'), custom_id: customId }
      const response = { status_code: answer.statusCode, request_id: answer.requestId, body: answer.body }
      const right = answer.statusCode < 300
      counts[right ? 'completed' : 'failed']++
      ;(right ? good : bad).push(`${JSON.stringify({ ...head, response, error: null })}\n`)
      cancelled ||= (await batches.update(id, { counts })).status === 'cancelling'
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  if (!cancelled) await batches.update(id, { status: 'finalizing', counts })
  const keep = async (name: string, rows: string[]) => {
    if (rows.length === 0) return undefined
    const content = (async function* () {
      for (const row of rows) yield Buffer.from(row)
    })()
    return (await house.datasets.add(`${id}_${name}.jsonl`, content, house.config.uploadLimit, 'batch_output')).id
  }
  const [output, errorFile] = [await keep('output', good), await keep('errors', bad)]
  await batches.update(id, {
    status: cancelled ? 'cancelled' : 'completed',
    counts,
    ...(output !== undefined && { output }),
    ...(errorFile !== undefined && { errorFile }),
  })
}

async function ask(server: FastifyInstance, url: string, body: object, caller: Headers) {
  for (let attempt = 0; ; attempt++) {
    const { statusCode, headers, payload } = await server.inject({
      method: 'POST',
      url,
      headers: { ...caller, 'content-type': 'application/json' },
      payload: JSON.stringify(body),
    })
    const busy = statusCode === 429 || statusCode === 503
    if (!busy || attempt >= TRIES)
      return { statusCode, requestId: String(headers['x-request-id']), body: parsed(payload) }
    const asked = Number(headers['retry-after'] ?? 0) * 1000
    await new Promise((resolve) => setTimeout(resolve, Math.max(asked, PAUSE * 2 ** attempt)))
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** Starts a batch beside everything else; a failure of the server itself is noted in the batch and the log. */
export function startBatch(house: House, server: FastifyInstance, id: string, headers: Headers) {
  const caller = Object.fromEntries(ofCaller.map((name) => [name, headers[name]]).filter(([, value]) => value))
  runBatch(house, server, id, caller).catch(async (thrown) => {
    const error = asAthanorError(thrown)
    house.log.error('batch.failed', error, { requestId: id })
    const told = { code: error.code.toLowerCase(), message: error.message, line: null }
    await new Batches(house.store).update(id, { status: 'failed', errors: [told] }).catch(() => undefined)
  })
}
