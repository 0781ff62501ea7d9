import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Athanor } from '../../../client/src/index.ts'
import { startTestServer } from '../../../src/testing/server.ts'

// A live oracle: ATHANOR_MLSERVER names a Python with mlserver.
const mlserver = process.env.ATHANOR_MLSERVER
const ends: (() => unknown)[] = []
after(async () => {
  for (const end of ends.reverse()) await end()
})

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })

async function start(command: string, given: readonly string[], ready: string) {
  const child = spawn(command, given, { stdio: 'ignore' })
  ends.push(() => child.kill('SIGKILL'))
  for (let i = 0; i < 600; i++) {
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`)
    if (
      await fetch(ready).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`${command} does not answer`)
}

test('MLServer: signature, numbers and texts through the Open Inference Protocol', {
  skip: !mlserver && 'ATHANOR_MLSERVER',
}, async () => {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  await start(
    mlserver!,
    [fileURLToPath(new URL('oip_server.py', import.meta.url)), String(port)],
    `${url}/v2/health/ready`,
  )
  const server = await startTestServer()
  ends.push(() => server.close())
  const athanor = new Athanor({ url: server.url, retries: 0 })
  const { manifest } = await athanor.models.addRemote('double', { url, protocol: 'oip', model: 'double' })
  assert.deepEqual(manifest.signature.inputs[0], { name: 'x', dtype: 'float64', shape: ['x_0', 3] })
  const { outputs } = await athanor.infer('double', {
    x: { shape: [2, 3], data: [0.1, 2, 3, 4, 5, -6.25] },
    text: { shape: [2, 1], data: ['abc', '你好'] },
  })
  assert.deepEqual(outputs.y.data.flat(), [0.2, 4, 6, 8, 10, -12.5])
  assert.deepEqual(outputs.length.data.flat(), [3, 2])
})
