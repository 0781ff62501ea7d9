import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { AthanorError, type ErrorCode } from '../base/errors.ts'
import { startHub } from '../testing/hub-server.ts'
import { Hub, parseHubSpec } from './hub.ts'

const weights = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255)
const config = new TextEncoder().encode('{"model_type":"bert"}')
const server = await startHub({ 'config.json': config, 'weights/a b.safetensors': weights }, { token: 'secret' })
after(() => server.close())
const env = { HF_ENDPOINT: server.url, HF_TOKEN: 'secret' }
const refused =
  (code: ErrorCode, message = /./) =>
  (error: unknown) =>
    error instanceof AthanorError && error.code === code && message.test(error.message)

async function read(hub: Hub, path: string, offset = 0): Promise<Buffer> {
  const repository = await hub.list(parseHubSpec('hf:owner/name'))
  const pieces: Buffer[] = []
  for await (const piece of hub.read(repository, repository.files.find((file) => file.path === path)!, offset))
    pieces.push(piece)
  return Buffer.concat(pieces)
}
const path = 'weights/a b.safetensors'

test('what names a model on the hub', () => {
  assert.deepEqual(parseHubSpec('hf:bert-base'), { name: 'bert-base', revision: 'main' })
  const whole = { name: 'o.w/n-1.5', revision: 'refs/pr/3', path: 'q/model.gguf' }
  assert.deepEqual(parseHubSpec('hf:o.w/n-1.5@refs/pr/3#q/model.gguf'), whole)
  for (const wrong of ['hf:', 'hf:a/b/c', 'hf:../b', 'hf:a/..', 'hf:a/b@../c', 'hf:a/b@', 'hf:a/b?x', 'hf:.a/b'])
    assert.throws(() => parseHubSpec(wrong), refused('OPTION_INVALID'), wrong)
})

test('files are listed at a commit and read, the token told to the hub alone', async () => {
  const hub = await Hub.open(env)
  const listed = await hub.list(parseHubSpec('hf:old/name'))
  assert.equal(listed.name, 'owner/name', 'a repository that was renamed')
  assert.equal(listed.commit, server.commit)
  assert.deepEqual(
    listed.files.map(({ path, bytes, sha256 }) => [path, bytes, sha256?.length]),
    [
      ['config.json', config.byteLength, undefined],
      [path, weights.byteLength, 64],
    ],
  )
  assert.deepEqual(await hub.readWhole(listed, listed.files[0]), config)
  assert.ok((await read(hub, path)).equals(weights))
  assert.ok(
    server.asked.every((one) => one.endsWith(one.startsWith('hub') ? 'Bearer secret' : ' -')),
    server.asked.join('\n'),
  )
  await assert.rejects(hub.readWhole(listed, { ...listed.files[0], blob: '0'.repeat(40) }), refused('HUB_FAILED'))
  await assert.rejects(hub.list(parseHubSpec('hf:owner/none')), refused('HUB_LACKS', /owner\/none at main/))
  await assert.rejects(hub.list(parseHubSpec('hf:owner/name@v9')), refused('HUB_LACKS', /v9/))
  await hub.close()
  const stranger = await Hub.open({ HF_ENDPOINT: server.url, HF_TOKEN: '' })
  await assert.rejects(stranger.list(parseHubSpec('hf:owner/name')), refused('HUB_LACKS'))
  await stranger.close()
})

test('a file goes on where it broke off, also where ranges are not known', async () => {
  const hub = await Hub.open(env)
  for (const whole of [false, true]) {
    server.asked.length = 0
    Object.assign(server.faults, { whole, breaks: { after: 200_000, times: 1 } })
    assert.ok((await read(hub, path, 1000)).equals(weights.subarray(1000)))
    const ranges = server.asked.filter((one) => one.startsWith('storage')).map((one) => one.split(' ')[2])
    assert.equal(ranges[0], 'bytes=1000-')
    assert.equal(ranges.length, 2)
    assert.notEqual(ranges[1], ranges[0])
  }
  await hub.close()
})

test('the hub leads nowhere inside, nor away from https', async () => {
  const check = async (endpoint: string, to: string) => {
    const hub = await Hub.open({ HF_ENDPOINT: endpoint })
    await hub.permit(new URL(to)).finally(() => hub.close())
  }
  const outside = 'https://93.184.216.34'
  for (const to of [
    'https://10.1.2.3/x',
    'https://127.0.0.1/',
    'https://[::1]/',
    'https://169.254.169.254/',
    'http://93.184.216.35/',
  ])
    await assert.rejects(check(outside, to), refused('ADDRESS_REFUSED'), to)
  await check(outside, 'https://93.184.216.35/x')
  await check(server.url, 'http://127.0.0.1:1/x')
  await assert.rejects(Hub.open({ HF_ENDPOINT: 'http://93.184.216.34' }), refused('OPTION_INVALID'))
  await assert.rejects(Hub.open({ ATHANOR_HF_ENDPOINT: 'ftp://x' }), refused('OPTION_INVALID'))
})
