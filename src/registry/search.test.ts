import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { checkAddress } from '../base/addresses.ts'
import { isInside } from '../base/egress.ts'
import type { AthanorError } from '../base/errors.ts'
import { openStore } from '../store/store.ts'
import { backends, removeBackends } from '../testing/backends.ts'
import { tensorManifest as manifest } from '../testing/manifest.ts'
import { parseCard, printCard } from './card.ts'
import { Registry } from './registry.ts'
import { termsOf, wantedTerms } from './terms.ts'
import { Webhooks } from './webhooks.ts'

after(removeBackends)
const code = (expected: string) => (error: AthanorError) => error.code === expected

const files = (text: string) => ({ 'model.onnx': Buffer.from(text) })

for (const backend of backends) {
  const { name, skip } = backend

  test(`search by words, facets and figures, page by page: ${name}`, { skip }, async () => {
    const { home, places } = await backend.fresh()
    const store = await openStore(home, places)
    const registry = new Registry(store)
    const names = async (query: Parameters<Registry['search']>[0]) =>
      (await registry.search(query)).models.map((model) => model.name)
    const scripts = { scripts: { Han: 0.9, Latin: 0.1 } }
    await registry.register('hotel-reviews', manifest({ metrics: { accuracy: 0.9 }, profile: scripts }), files('a'))
    await registry.register('mood', manifest({ labels: ['情感好评', '差评'], metrics: { accuracy: 0.8 } }), files('bb'))
    await registry.register('resnet', manifest({ family: 'resnet', description: 'Hotel photos' }), files('ccc'))

    assert.deepEqual(await names({ search: 'HOTEL' }), ['hotel-reviews', 'resnet'], 'the name counts more')
    assert.deepEqual(await names({ search: 'hot rev' }), ['hotel-reviews'], 'beginnings of words')
    assert.deepEqual(await names({ search: '好评' }), ['mood'])
    assert.deepEqual(await names({ search: '评' }), ['mood'], 'one character')
    assert.deepEqual(await names({ search: '评好' }), [], 'not in this order')
    assert.deepEqual(await names({ search: "'; drop table models; --" }), [])
    assert.deepEqual(await names({ search: '%_' }), [], 'no word at all')
    assert.deepEqual(await names({ language: 'zh' }), ['hotel-reviews'], 'told by the script of the data')
    assert.deepEqual(await names({ where: 'accuracy>=0.85' }), ['hotel-reviews'])
    assert.deepEqual(await names({ where: 'size<=2,accuracy<=0.9', sort: 'accuracy' }), ['mood', 'hotel-reviews'])
    assert.deepEqual(await names({ sort: '-size' }), ['resnet', 'mood', 'hotel-reviews'])
    assert.deepEqual(await names({ among: ['h_tel*', 'mo*d', 'resne'] }), ['mood'], 'what a key is for')
    assert.deepEqual((await registry.search({ among: ['mood'] })).facets.family, [{ value: 'onnx', count: 1 }])
    await assert.rejects(registry.search({ where: 'accuracy=1' }), code('BAD_REQUEST'))
    await assert.rejects(registry.search({ cursor: 'e30' }), code('BAD_REQUEST'))

    await registry.setCard('mood', { licence: 'MIT', languages: ['zh', 'en'], text: 'trained on <b>films</b>' })
    await registry.setTags('mood', { production: '', team: 'search' })
    const { models, facets, total } = await registry.search({ language: 'zh', sort: 'name' })
    assert.deepEqual([models.map((model) => model.name), total], [['hotel-reviews', 'mood'], 2])
    assert.deepEqual(facets.licence, [{ value: 'MIT', count: 1 }])
    assert.deepEqual(facets.task, [{ value: 'tensor', count: 2 }])
    assert.deepEqual(await names({ tag: 'team=search', licence: 'MIT', search: 'films' }), ['mood'])
    await registry.setTags('mood', { team: null })
    assert.deepEqual(await names({ tag: 'team=search' }), [])
    await registry.setAlias('mood', 'champion', 1)
    assert.deepEqual((await registry.search({ search: 'champion' })).models[0].aliases, { champion: 1 })

    const paged: string[] = []
    for (let cursor: string | undefined; ; ) {
      const page = await registry.search({ sort: '-updated', limit: 1, ...(cursor && { cursor }) })
      assert.equal(page.total, 3)
      paged.push(...page.models.map((model) => model.name))
      cursor = page.next
      if (!cursor) break
    }
    assert.deepEqual(paged.sort(), ['hotel-reviews', 'mood', 'resnet'])

    await registry.register('mood', manifest({ family: 'lstm' }), files('newer'))
    assert.deepEqual(await names({ search: '好评' }), [], 'the newest version counts')
    await registry.delete('mood@2')
    assert.deepEqual(await names({ search: '好评' }), ['mood'])
    await registry.delete('mood')
    assert.equal(await registry.count(), 2)
    await store.db.deleteFrom('search_models').execute()
    await registry.indexMissing()
    assert.deepEqual(await names({ search: 'hotel' }), ['hotel-reviews', 'resnet'])
    await store.close()
  })

  test(`lineage leads from data to requests and on to other models: ${name}`, { skip }, async () => {
    const { home, places } = await backend.fresh()
    const store = await openStore(home, places)
    const registry = new Registry(store)
    const dataset = { digest: 'd'.repeat(64), source: 'reviews.csv', rows: 10 }
    await registry.register('a', manifest({ lineage: { code: '0', run: 'a-1', dataset } }), files('a'))
    const measurements = [{ name: 'latency', source: 4, refined: 2, change: 0.5 }]
    const refined = { code: '0', run: 'a-2', refinedFrom: { model: 'a', version: 1 }, measurements }
    await registry.register('a', manifest({ lineage: refined }), files('b'))
    await registry.register('b', manifest({ lineage: { code: '0', run: 'b-1', parent: 'a@2' } }), files('c'))
    await registry.setAlias('a', 'champion', 2)
    const graph = await registry.lineage('a', [{ model: 'a', version: 2, requests: 7 }])
    const edges = graph.edges.map(({ from, to }) => `${from} > ${to}`)
    for (const edge of [
      `data:${'d'.repeat(16)} > run:a-1`,
      'run:a-1 > version:a@1',
      'version:a@1 > run:a-2',
      'run:a-2 > version:a@2',
      'version:a@2 > deployment:a@2',
      'deployment:a@2 > requests:a@2',
      'version:a@2 > run:b-1',
      'run:b-1 > version:b@1',
    ])
      assert.ok(edges.includes(edge), `${edge} in ${edges.join('; ')}`)
    const ids = new Set(graph.nodes.map(({ id }) => id))
    assert.ok(graph.edges.every(({ from, to }) => ids.has(from) && ids.has(to)))
    const [second, first] = await registry.compare('a')
    assert.deepEqual([first.latency, second.latency], [4, 2], 'both as the gate measured them')
    await store.close()
  })

  test(`webhooks are told, signed, again after a failure, and in order of a bounded queue: ${name}`, {
    skip,
  }, async () => {
    const { home, places } = await backend.fresh()
    const store = await openStore(home, places)
    const got: { headers: Record<string, unknown>; body: string }[] = []
    let failures = 1
    const receiver = createServer(async (request, response) => {
      let body = ''
      for await (const piece of request) body += piece
      if (failures-- > 0) return void response.writeHead(500).end()
      got.push({ headers: request.headers, body })
      response.end()
    })
    await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
    await assert.rejects(new Webhooks(store, { allowedHosts: [] }).add(url, []), code('ADDRESS_REFUSED'))
    const options = { allowedHosts: ['127.0.0.1'], every: 3_600_000, timeout: 600_000, backoff: () => 0 }
    const webhooks = new Webhooks(store, options)
    const { secret, id } = await webhooks.add(url, ['version.registered'])
    const stored = async () => (await store.db.selectFrom('webhooks').select('secret').executeTakeFirstOrThrow()).secret
    assert.ok(!(await stored()).includes(secret.slice(6)), 'it is sealed')
    const registry = new Registry(store)
    await registry.register('a', manifest(), files('a'))
    await registry.setAlias('a', 'champion', 1) // not asked for
    await webhooks.deliver()
    assert.equal((await webhooks.list())[0].waiting, 1, 'the receiver failed')
    await webhooks.close()
    await store.db.updateTable('webhooks').set({ secret }).execute() // as an earlier release stored it
    const restarted = new Webhooks(store, options)
    await restarted.deliver()
    assert.equal(got.length, 1)
    assert.ok(!(await stored()).includes(secret.slice(6)), 'it was sealed at the start')
    const { headers, body } = got[0]
    const key = Buffer.from(secret.replace('whsec_', ''), 'base64')
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
    assert.equal(headers['webhook-signature'], `v1,${createHmac('sha256', key).update(signed).digest('base64')}`)
    const { type, data } = JSON.parse(body) as { type: string; data: Record<string, unknown> }
    assert.deepEqual([type, data.model, data.version], ['version.registered', 'a', 1])
    assert.equal((await restarted.list())[0].waiting, 0)
    await restarted.remove(id)
    await assert.rejects(restarted.remove(id), code('WEBHOOK_NOT_FOUND'))
    await restarted.close()
    receiver.close()
    await store.close()
  })
}

test('addresses of the machine and its network are refused, in whatever notation', async () => {
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    '192.168.0.9',
    '169.254.169.254',
    '::1',
    'fe80::1',
    'fd00::1',
    '::ffff:10.0.0.1',
    '::ffff:7f00:1',
    '0.0.0.0',
  ])
    assert.ok(isInside(address), address)
  for (const address of ['93.184.215.14', '2606:2800::1']) assert.ok(!isInside(address), address)
  for (const url of [
    'http://2130706433/',
    'http://0x7f.1/',
    'http://[::ffff:127.0.0.1]/',
    'http://localhost:1/',
    'ftp://example.org',
    'http://user:word@example.org',
    'no address',
  ])
    await assert.rejects(checkAddress(url, []), code('ADDRESS_REFUSED'), url)
  await assert.rejects(checkAddress('http://example.org/', ['example.com']), code('ADDRESS_REFUSED'))
  assert.equal((await checkAddress('http://localhost:1/x', ['localhost'])).pathname, '/x')
})

test('terms of words, and of scripts without blanks', () => {
  assert.deepEqual([...termsOf('ResNet-18 für Ｃａｆé')], ['resnet', '18', 'für', 'café'])
  assert.deepEqual([...termsOf('情感分析v2')], ['情感', '感分', '分析', '析', 'v2'])
  assert.deepEqual(wantedTerms('情感 mood'), ['情感', 'mood'])
  assert.ok(wantedTerms('a b c d e f g h i j k l m n o p q r').length <= 16)
})

test('a card is read from Markdown, printed, and read again; scripts stay text; what is wrong is named', () => {
  const text = '# Mood\n\n<script>alert(1)</script>'
  const written = parseCard(`---\nlicence: MIT\nlanguages: [zh]\nlimits: |\n  short texts\n---\n${text}\n`)
  assert.deepEqual(written, { licence: 'MIT', languages: ['zh'], limits: 'short texts\n', text })
  const printed = printCard({ name: 'mood', version: 3, manifest: manifest({ metrics: { accuracy: 0.5 } }) }, written, {
    a: '',
  })
  assert.ok(printed.includes('accuracy: 0.5') && printed.includes(text))
  assert.deepEqual(parseCard(printed), written, 'what is generated is not taken for written')
  assert.deepEqual(parseCard('only text'), { text: 'only text' })
  for (const [bad, reason] of [
    ['---\nlicense: MIT\n---\n', 'license'],
    ['---\nlanguages: ["<b>"]\n---\n', 'languages'],
    ['---\n[\n---\n', 'YAML'],
    ['---\na: &a [x]\nb: [*a, *a]\n---\n', ''],
    [`---\nlicence: ${'x'.repeat(101)}\n---\n`, 'licence'],
    ['x'.repeat(70_000), 'longer'],
  ])
    assert.throws(
      () => parseCard(bad),
      (error: AthanorError) => error.code === 'CARD_INVALID' && error.message.includes(reason),
      bad.slice(0, 40),
    )
})
