import { readFile } from 'node:fs/promises'
import type { RemoteSpec } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { wholeNumber } from '../reading.ts'

export interface RemoteFlags {
  protocol?: RemoteSpec['protocol']
  model?: string
  task?: NonNullable<RemoteSpec['task']>
  keyEnv?: string
  keyFile?: string
  retries?: string
  fallback?: string
  description?: string
}

/** Registers a model of another server. Its key is read from a variable or a file, so that no list of processes shows it. */
export async function addRemote({ client, out }: Context, [action, name, url]: string[], flags: RemoteFlags) {
  if (action !== 'add')
    throw fail('OPTION_INVALID', { option: 'action', reason: `"${action.slice(0, 40)}" is not "add"` })
  const { protocol = 'openai', model, task, fallback, description } = flags
  const key = await keyOf(flags)
  const detail = await client.models.addRemote(name, {
    url,
    protocol,
    model: model ?? name,
    ...(task && { task }),
    ...(key !== undefined && { key }),
    ...(flags.retries !== undefined && { retries: wholeNumber('retries', flags.retries) }),
    ...(fallback !== undefined && { fallback }),
    ...(description !== undefined && { description }),
  })
  if (out.json) return out.document(detail)
  out.data(`${detail.name}@${detail.version}`)
  out.next(
    detail.manifest.task === 'text-generation' ? `athanor run ${detail.name} "…"` : `athanor show ${detail.name}`,
  )
}

async function keyOf({ keyEnv, keyFile }: RemoteFlags): Promise<string | undefined> {
  if (keyEnv !== undefined) {
    const value = process.env[keyEnv]
    if (value) return value
    throw fail('OPTION_INVALID', { option: 'key-env', reason: `no variable ${keyEnv.slice(0, 80)}` })
  }
  if (keyFile === undefined) return undefined
  try {
    return (await readFile(keyFile, 'utf8')).trim()
  } catch {
    throw fail('OPTION_INVALID', { option: 'key-file', reason: 'it cannot be read' })
  }
}
