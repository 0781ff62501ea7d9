import { fail } from '../base/errors.ts'
import { checkName, parseModelRef } from '../base/ids.ts'
import { type Static, Type } from '../base/schema.ts'
import { suggest } from '../base/suggest.ts'
import { version as code } from '../base/version.ts'
import { SEALED_KEY } from '../bundle/bundle.ts'
import { type Manifest, Remote } from '../bundle/manifest.ts'
import { keyUse, type Outside } from '../engine/any.ts'
import type { Registry, Version } from '../registry/registry.ts'
import type { Secrets } from '../store/secrets.ts'

/** Another server's model as it is registered; its key is kept sealed and never shown again. */
export const RemoteSpec = Type.Object(
  {
    ...Type.Omit(Remote, ['binary']).properties,
    url: Type.String({ maxLength: 2000 }),
    model: Type.String({ minLength: 1, maxLength: 300 }),
    /** What it does, of a server that speaks OpenAI: `text-generation` (if not given) or `feature-extraction`. */
    task: Type.Optional(Type.Union([Type.Literal('text-generation'), Type.Literal('feature-extraction')])),
    /** Sent as a bearer token. */
    key: Type.Optional(Type.String({ minLength: 1, maxLength: 4000, pattern: '^[\\x21-\\x7e]+$' })),
    description: Type.Optional(Type.String({ maxLength: 2000 })),
  },
  { additionalProperties: false },
)
export type RemoteSpec = Static<typeof RemoteSpec>

/** Milliseconds that looking at another server may take. */
const LOOK = 15_000

/**
 * Registers a model of another server as the next version of `name`, after a look at it: whether it is there, and what it
 * takes and gives. Throws HOST_FORBIDDEN, UPSTREAM_UNREACHABLE, UPSTREAM_FAILED, UPSTREAM_REFUSED or BAD_REQUEST.
 */
export async function addRemote(
  { registry, outside }: { registry: Registry; outside: Outside & { readonly secrets: Secrets } },
  name: string,
  { task = 'text-generation', key, description, ...remote }: RemoteSpec,
): Promise<Version> {
  checkName(name)
  const url = outside.egress.check(remote.url)
  if (remote.fallback !== undefined) {
    if (parseModelRef(remote.fallback).name === name)
      throw fail('BAD_REQUEST', { message: 'fallback: a model cannot stand in for itself', param: 'fallback' })
    await registry.resolve(remote.fallback)
  }
  // a key that is sent in the clear is anyone's
  const near = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)
  if (key !== undefined && url.protocol === 'http:' && !near)
    throw fail('BAD_REQUEST', { message: 'url: a key is sent only over https, or to this machine', param: 'url' })
  const manifest: Manifest = {
    format: 'athanor-bundle',
    formatVersion: 1,
    task: remote.protocol === 'oip' ? 'tensor' : task,
    engine: 'remote',
    family: remote.protocol,
    labels: [],
    parameters: 0,
    metrics: {},
    lineage: { code },
    ...(description !== undefined && { description }),
    createdAt: new Date().toISOString(),
    ...(await look(name, remote, task, outside, key)),
  }
  const files = key === undefined ? {} : { [SEALED_KEY]: outside.secrets.seal(key, keyUse(remote.url)) }
  return registry.register(name, manifest, files as Record<string, Uint8Array>)
}

async function look(
  name: string,
  remote: Remote,
  task: 'text-generation' | 'feature-extraction',
  { egress }: Outside,
  key: string | undefined,
): Promise<Pick<Manifest, 'remote' | 'signature'>> {
  const [{ Upstream }, { describeRemotely }, { embedRemotely }] = await Promise.all([
    import('../engine/remote/upstream.ts'),
    import('../engine/remote/oip.ts'),
    import('../engine/remote/openai.ts'),
  ])
  const upstream = new Upstream(name, { ...remote, retries: 0 }, egress, key)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(upstream.unreachable(`nothing within ${LOOK} ms`)), LOOK)
  try {
    if (remote.protocol === 'oip') {
      const { signature, binary } = await describeRemotely(upstream, remote.model, late.signal)
      return { remote: { ...remote, binary }, signature }
    }
    if (task === 'feature-extraction') {
      const { width } = await embedRemotely(upstream, remote, ['a'], late.signal)
      const outputs = [{ name: 'embeddings', dtype: 'float32', shape: ['batch', width] }]
      return { remote, signature: { inputs: [], outputs } }
    }
    const list = (await upstream.json({ method: 'GET', path: '/models', signal: late.signal })) as {
      data?: { id?: unknown }[]
    } | null
    const ids = (list?.data ?? []).map(({ id }) => String(id))
    if (!ids.includes(remote.model)) {
      const suggestion = suggest(remote.model, ids)
      const message = `model: that server lists ${ids.length} models, none named "${remote.model.slice(0, 80)}"`
      throw fail('BAD_REQUEST', { message, param: 'model' }, { ...(suggestion && { suggestion }) })
    }
    return { remote, signature: { inputs: [], outputs: [] } }
  } finally {
    clearTimeout(timer)
    await upstream.close()
  }
}
