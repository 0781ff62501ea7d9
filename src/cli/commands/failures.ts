import type { Context } from '../context.ts'
import { given, wholeNumber } from '../reading.ts'
import { ago, printable } from '../terminal.ts'

/** Errors that are alike; of one group its stack. */
export async function errors(
  { client, out }: Context,
  fingerprint: string | undefined,
  { model, code }: { model?: string; code?: string },
) {
  if (fingerprint !== undefined) {
    const group = await client.error(fingerprint)
    if (out.json) return out.document(group)
    out.data(`${group.code}  ${group.count} times, first ${ago(group.firstAt)}, last ${ago(group.lastAt)}`)
    out.data(`  ${printable(group.message)}`)
    if (group.requests.length > 0) out.data(`  requests  ${group.requests.join(' ')}`)
    if (group.detail) out.data(`\n${printable(group.detail)}`)
    return
  }
  const groups = await client.errors({ ...(model && { model }), ...(code && { code }) })
  if (out.json) return out.document(groups)
  if (groups.length === 0) return out.say('no errors are known')
  out.table(
    ['FINGERPRINT', 'CODE', 'MODEL', 'COUNT', 'FIRST', 'LAST', 'WHAT'],
    groups.map((group) => [
      group.fingerprint,
      group.code,
      group.model,
      String(group.count),
      ago(group.firstAt),
      ago(group.lastAt),
      printable(group.message).slice(0, 80),
    ]),
  )
  out.next('athanor errors FINGERPRINT')
}

interface RequestOptions {
  model?: string
  code?: string
  door?: string
  request?: string
  since?: string
  limit?: string
}

/** Logged requests, oldest of the chosen first. */
export async function requests({ client, out }: Context, { limit = '50', ...options }: RequestOptions) {
  const filter = given(options, ['model', 'code', 'door', 'request', 'since'])
  const list = (await client.requests({ ...filter, limit: wholeNumber('limit', limit) })).reverse()
  if (out.json) return out.document(list)
  if (list.length === 0) return out.say('no such requests are logged')
  out.table(
    ['AT (UTC)', 'REQUEST', 'DOOR', 'MODEL', 'RESULT', 'MS', 'ROWS', 'TOKENS'],
    list.map((one) => [
      one.at.replace('T', ' ').slice(0, 19),
      one.requestId,
      one.door,
      one.model === undefined ? '' : `${one.model}@${one.version}`,
      one.code ?? 'ok',
      one.ms.toFixed(1),
      String(one.rows),
      one.completionTokens === undefined ? '' : `${one.promptTokens}+${one.completionTokens}`,
    ]),
  )
}
