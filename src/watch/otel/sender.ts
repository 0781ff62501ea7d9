import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Telemetry } from './settings.ts'

const TRIES = 3
/** Answers after which the same may be sent again (OTLP specification, "Failures"). */
const again = new Set([429, 502, 503, 504])
const compress = promisify(gzip)

/** Posts a message of OTLP as JSON; throws when the collector does not take it. */
export async function send(url: URL, message: object, { headers, timeout, gzip }: Telemetry): Promise<void> {
  const json = JSON.stringify(message)
  const init = {
    method: 'POST',
    body: gzip ? new Uint8Array(await compress(json)) : json,
    headers: { 'content-type': 'application/json', ...(gzip && { 'content-encoding': 'gzip' }), ...headers },
    redirect: 'error' as const,
  }
  for (let attempt = 1; ; attempt++) {
    let reason: unknown
    let wait = 250 * 2 ** attempt
    try {
      const response = await fetch(url, { ...init, signal: AbortSignal.timeout(timeout) })
      await response.body?.cancel()
      if (response.ok) return
      reason = new Error(`the collector answered ${response.status}`)
      if (!again.has(response.status)) throw reason
      wait = Math.min(timeout, Number(response.headers.get('retry-after')) * 1000 || wait)
    } catch (error) {
      if (error === reason) throw error
      reason = error
    }
    if (attempt >= TRIES) throw reason
    await setTimeout(wait, undefined, { ref: false })
  }
}
