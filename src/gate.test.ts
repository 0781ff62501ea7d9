import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  type Client,
  credentials,
  Metadata,
  makeGenericClientConstructor,
  type ServiceError,
  status,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { forbidden, type Permission, roles } from './access/roles.ts'
import { type App, startApp } from './app.ts'
import { doorNames } from './doors/door-names.ts'
import { doors } from './doors/doors.ts'
import { routes } from './doors/server.ts'
import { homeWithKeys } from './testing/tenants.ts'
import { tinyClassifier } from './testing/tiny.ts'
import { tinyDecoder } from './testing/tiny-decoder.ts'

const { home, places, keys } = await homeWithKeys({
  viewer: { name: 'viewer', role: 'viewer', tenant: 'acme' },
  user: { name: 'user', role: 'user', tenant: 'acme' },
  developer: { name: 'developer', role: 'developer', tenant: 'acme' },
  admin: { name: 'admin', role: 'admin', tenant: 'acme' },
  scoped: { name: 'scoped', role: 'user', models: ['pub*'], tenant: 'acme' },
  ollama: { name: 'ollama', role: 'admin', doors: ['ollama'], tenant: 'acme' },
  other: { name: 'other', role: 'admin', tenant: 'rival' },
  operator: { name: 'operator', role: 'admin', tenant: 'default' },
  revoked: { name: 'revoked', role: 'admin', tenant: 'acme' },
})
type Name = keyof typeof keys

let app: App
before(async () => {
  app = await startApp({
    home,
    ...places,
    port: 0,
    logLevel: 'silent',
    requireKeys: true,
    deadline: 600_000,
    doorPorts: [{ name: 'grpc', port: 0 }],
  })
  const { access } = app.house
  await access.keys.revoke('acme', keys.revoked.slice(4, 16))
  const acme = await app.houseOf('acme')
  const [classifier, decoder] = [await tinyClassifier(), tinyDecoder()]
  for (const name of ['secret', 'public']) await acme.registry.register(name, classifier.manifest, classifier.files)
  await acme.registry.register('writer', decoder.manifest, decoder.files)
})
after(async () => {
  await app.close()
  rmSync(home, { recursive: true, force: true })
})

interface Told {
  status: number
  text: string
}

/** What a request is answered with, without what differs from request to request. */
async function ask(who: Name | undefined, method: string, path: string, body?: unknown, headers = {}): Promise<Told> {
  const response = await fetch(app.url + path, {
    method,
    headers: {
      ...(who && { authorization: `Bearer ${keys[who]}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  })
  const text = (await response.text()).replace(/req_\w+/g, 'req')
  return { status: response.status, text }
}

/** A body of each route that asks for a model, as far as it needs one to find out whether there is such a model. */
function bodyOf(path: string, model: string): unknown {
  if (path.endsWith('/predict') && path.startsWith('/api')) return { inputs: 'x' }
  if (path.endsWith('/generate') && path.startsWith('/api')) return { prompt: 'x' }
  if (path === '/api/evaluations') return { model, dataset: 'ds_1' }
  if (path === '/api/refinements') return { refine: model, passes: [{ pass: 'tidy' }] }
  if (path.endsWith('/aliases/:alias')) return { version: 1 }
  if (/^\/v1\/(chat|responses)/.test(path)) return { model, messages: [{ role: 'user', content: 'x' }], input: 'x' }
  if (path.endsWith('/infer')) return { inputs: [{ name: 'text', shape: [1], datatype: 'BYTES', data: ['x'] }] }
  if (/generate(_stream)?$/.test(path) && path.startsWith('/v2')) return { text_input: 'x' }
  if (path.startsWith('/ollama')) return { model, prompt: 'x', messages: [{ role: 'user', content: 'x' }], input: 'x' }
  if (path.startsWith('/mlflow')) return { inputs: ['x'] }
  if (path.startsWith('/mcp'))
    return {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: model, arguments: { text: 'x' } },
    }
  return {
    model,
    input: 'x',
    inputs: 'x',
    prompt: 'x',
    query: 'x',
    documents: ['x'],
    text_1: 'x',
    text_2: 'y',
    texts: ['x'],
    messages: [{ role: 'user', content: 'x' }],
    instances: ['x'],
  }
}

const filled = (path: string, model: string) =>
  path
    .replace(/:(model|name)/, model)
    .replace(':version', '1')
    .replace(':task', 'text-classification')
    .replace(':id', '12')
    .replace(/:\w+/g, 'none')
/** With a body that no schema takes: whoever may pass is told that it is wrong. */
const wrong = (method: string) => (method === 'GET' || method === 'DELETE' ? undefined : 'wrong')

test('every route × nobody, each role, another tenant, the operator: allowed or not as it declares', async () => {
  const callers: (Name | undefined)[] = [undefined, 'revoked', ...roles, 'other', 'operator', 'ollama']
  const nobody = new Set<string>()
  for (const door of doors)
    for (const { method, path, permission } of door.routes)
      for (const who of callers) {
        const told = await ask(who, method, filled(path, 'absent'), wrong(method))
        const where = `${method} ${path} (${permission}) by ${who ?? 'nobody'}: ${told.status} ${told.text}`
        const principal = who && app.house.access.identify({ authorization: `Bearer ${keys[who]}` })
        if (permission === 'public') assert.ok(told.status < 400, where)
        else if (!principal) {
          assert.equal(told.status, 401, where)
          nobody.add(`${door.name} ${told.text}`)
        } else {
          const denied = forbidden(principal, permission, door.name) !== undefined
          assert.equal(told.status === 403, denied, where)
          assert.ok(told.status !== 401 && told.status !== 500, where)
        }
      }
  assert.equal(nobody.size, doors.length, 'no key and a revoked one are told the same')
  // what the table of roles says, in words of its own
  const least: Record<Permission, number> = { public: -1, read: 0, use: 1, write: 2, admin: 3, operate: 4 }
  const rank = { viewer: 0, user: 1, developer: 2, admin: 3, other: 3, operator: 4 } as const
  for (const [who, may] of Object.entries(rank) as [Name, number][])
    for (const [permission, needs] of Object.entries(least) as [Permission, number][]) {
      const principal = app.house.access.identify({ 'x-api-key': keys[who] })!
      assert.equal(forbidden(principal, permission, 'native') === undefined, may >= needs, `${who} ${permission}`)
    }
})

test('another tenant’s model is an unknown one, on every route, and so is one that a key is not for', async () => {
  let compared = 0
  let told = 0
  for (const { method, path, permission } of routes) {
    if (permission === 'public' || permission === 'operate') continue
    const asked = async (who: Name, model: string) => {
      const body =
        method === 'GET' || (method === 'DELETE' && !path.startsWith('/ollama')) ? undefined : bodyOf(path, model)
      const told = await ask(who, method, filled(path, model), body)
      return { ...told, text: told.text.replaceAll(model, 'MODEL') }
    }
    if (!/:(model|name)/.test(path) && (method === 'GET' || path.startsWith('/api/users'))) continue
    if (!path.endsWith('/versions') && !path.endsWith('/import')) {
      assert.deepEqual(await asked('other', 'secret'), await asked('other', 'absent'), `${method} ${path}`)
      compared++
    }
    if (permission === 'use' || permission === 'read') {
      const [own, absent] = [await asked('user', 'secret'), await asked('user', 'absent')]
      if (own.status !== absent.status) told++
      assert.deepEqual(await asked('scoped', 'secret'), await asked('scoped', 'absent'), `${method} ${path} (scoped)`)
    }
  }
  assert.ok(compared > 60, String(compared))
  assert.ok(told > 35, `${told} routes tell the tenant’s own model from an unknown one`)
})

test('lists show what is the caller’s own', async () => {
  const names = async (who: Name, path: string) => JSON.stringify(JSON.parse((await ask(who, 'GET', path)).text))
  for (const path of ['/api/models', '/v1/models', '/ollama/api/tags', '/api/status']) {
    assert.ok(!(await names('other', path)).includes('secret'), path)
    assert.ok(!(await names('operator', path)).includes('secret'), path)
  }
  for (const path of ['/api/models', '/v1/models', '/ollama/api/tags']) {
    assert.ok((await names('viewer', path)).includes('secret'), path)
    const seen = await names('scoped', path)
    assert.ok(seen.includes('public') && !seen.includes('secret') && !seen.includes('writer'), path)
  }
  for (const path of ['/api/runs', '/api/datasets', '/api/alerts'])
    assert.equal((await ask('scoped', 'GET', path)).status, 403, path)
  // an operator acts for a tenant by naming it; nobody else can
  const named = (who: Name, tenant: string) => ask(who, 'GET', '/api/models', undefined, { 'x-athanor-tenant': tenant })
  assert.ok((await named('operator', 'acme')).text.includes('secret'))
  const hidden = await named('other', 'acme')
  assert.equal(hidden.status, 404)
  assert.equal(hidden.text.replace('acme', 'T'), (await named('other', 'nowhere')).text.replace('nowhere', 'T'))
  assert.equal((await named('other', 'rival')).status, 200)
})

test('two tenants have models of the same name, each its own', async () => {
  const rival = await app.houseOf('rival')
  const { manifest, files } = await tinyClassifier()
  await rival.registry.register('secret', { ...manifest, description: 'the rival’s' }, files)
  assert.ok((await ask('other', 'GET', '/api/models/secret')).text.includes('the rival’s'))
  assert.ok(!(await ask('viewer', 'GET', '/api/models/secret')).text.includes('the rival’s'))
  await ask('other', 'DELETE', '/api/models/secret')
  assert.equal((await ask('other', 'GET', '/api/models/secret')).status, 404)
  assert.equal((await ask('viewer', 'GET', '/api/models/secret')).status, 200)
})

test('a key is taken where clients of other services put it', async () => {
  const status = async (headers: Record<string, string>) => (await fetch(`${app.url}/api/whoami`, { headers })).status
  assert.equal(await status({ 'api-key': keys.user }), 200)
  assert.equal(await status({ 'x-api-key': keys.user }), 200)
  assert.equal(await status({ authorization: `bearer ${keys.user}` }), 200)
  assert.equal(await status({ authorization: keys.user }), 401)
  assert.equal(await status({ authorization: `Basic ${keys.user}` }), 401)
  const { headers } = await fetch(`${app.url}/api/models`)
  assert.equal(headers.get('www-authenticate'), 'Bearer')
})

test('gRPC asks for the same keys', async () => {
  const proto = fileURLToPath(new URL('../tools/proto-inference/inference.proto', import.meta.url))
  const service = loadSync(proto, { keepCase: true, longs: Number, defaults: true, enums: String })
  const GrpcClient = makeGenericClientConstructor(
    service['inference.GRPCInferenceService'] as never,
    'GRPCInferenceService',
  )
  const client = new GrpcClient(
    `127.0.0.1:${app.doorPorts[0].port}`,
    credentials.createInsecure(),
  ) as unknown as Client & Record<string, (...given: unknown[]) => void>
  const call = (who: Name | undefined, method: string, request: object): Promise<number> =>
    new Promise((resolve) => {
      const metadata = new Metadata()
      if (who) metadata.set('authorization', `Bearer ${keys[who]}`)
      client[method](request, metadata, (error: ServiceError | null) => resolve(error?.code ?? status.OK))
    })
  const inputs = [{ name: 'text', datatype: 'BYTES', shape: [1], contents: { bytes_contents: [Buffer.from('x')] } }]
  const calls: [string, object, Permission][] = [
    ['ServerLive', {}, 'public'],
    ['ServerReady', {}, 'public'],
    ['ServerMetadata', {}, 'read'],
    ['ModelReady', { name: 'secret' }, 'read'],
    ['ModelMetadata', { name: 'secret' }, 'read'],
    ['ModelConfig', { name: 'secret' }, 'read'],
    ['ModelStatistics', { name: 'secret' }, 'read'],
    ['RepositoryIndex', {}, 'read'],
    ['ModelInfer', { model_name: 'secret', inputs }, 'use'],
    ['RepositoryModelLoad', { model_name: 'secret' }, 'write'],
    ['RepositoryModelUnload', { model_name: 'secret' }, 'write'],
  ]
  const methods = Object.keys(service['inference.GRPCInferenceService'])
  assert.deepEqual(
    methods.filter((method) => !calls.some(([name]) => name === method)),
    ['ModelStreamInfer'],
  )
  for (const [method, request, permission] of calls) {
    for (const who of [undefined, 'revoked'] as const)
      assert.equal(
        await call(who, method, request),
        permission === 'public' ? status.OK : status.UNAUTHENTICATED,
        method,
      )
    for (const who of [...roles, 'ollama'] as const) {
      const principal = app.house.access.identify({ 'api-key': keys[who] })!
      const denied = forbidden(principal, permission, 'grpc') !== undefined
      assert.equal(
        await call(who, method, request),
        denied ? status.PERMISSION_DENIED : status.OK,
        `${method} by ${who}`,
      )
    }
    const expected = JSON.stringify(request).includes('secret') ? status.NOT_FOUND : status.OK
    assert.equal(await call('other', method, request), expected, `${method} by another tenant`)
    if (permission !== 'write')
      assert.equal(await call('scoped', method, request), expected, `${method} by a scoped key`)
  }
  const streamed = await new Promise<number>((resolve) => {
    const stream = (client.ModelStreamInfer as unknown as () => NodeJS.EventEmitter & { end(): void })()
    stream.on('error', (error: ServiceError) => resolve(error.code)).on('data', () => resolve(status.OK))
    stream.end()
  })
  assert.equal(streamed, status.UNAUTHENTICATED)
  client.close()
})

test('keys are named for every door', () => {
  assert.deepEqual(doorNames.toSorted(), [...doors.map(({ name }) => name), 'grpc'].toSorted())
})
