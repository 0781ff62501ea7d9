import { createServer as createNetServer, type Server } from 'node:net'
import type { FastifyInstance } from 'fastify'
import type { DoorPort } from '../base/config.ts'
import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { Door } from './door.ts'
import { doors } from './doors.ts'
import type { Gate } from './gate.ts'
import type { House } from './route.ts'

const GRPC = 'grpc'
const invalid = (reason: string, suggestion?: string) =>
  fail('OPTION_INVALID', { option: 'door', reason }, { ...(suggestion && { suggestion }) })

/** `ollama=11434` or `mlflow:sentiment=5001`; throws OPTION_INVALID. */
export function parseDoorPort(text: string): DoorPort {
  const [, name, model, port] = /^([a-z]+)(?::([^=]+))?=(\d{1,5})$/.exec(text) ?? []
  if (name === undefined || Number(port) > 65_535)
    throw invalid(`expected name=port or name:model=port, got "${text.slice(0, 80)}"`)
  checkDoor(name, model)
  return { name, port: Number(port), ...(model !== undefined && { model }) }
}

function checkDoor(name: string, model: string | undefined): Door | undefined {
  const own = doors.filter(({ ownPort }) => ownPort)
  const names = [GRPC, ...own.map((door) => door.name)]
  if (!names.includes(name)) throw invalid(`expected one of ${names.join(', ')}, got "${name}"`, suggest(name, names))
  const door = own.find((one) => one.name === name)
  const wantsModel = door?.ownPort?.mount.includes(':model') ?? false
  if (wantsModel && model === undefined) throw invalid(`"${name}" serves one model: write ${name}:<model>=<port>`)
  if (!wantsModel && model !== undefined) throw invalid(`"${name}" serves all models: write ${name}=<port>`)
  return door
}

/** Servers at ports of their own, for doors whose clients expect them at the root of one. */
export async function openPorts(
  app: FastifyInstance,
  house: House,
  gate: Gate,
): Promise<{ ports: DoorPort[]; close(): Promise<void> }> {
  const servers: { server: Server; end: () => void }[] = []
  const ports: DoorPort[] = []
  const close = async () => {
    await Promise.all(
      servers.map(({ server, end }) => {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()))
        end()
        return closed
      }),
    )
  }
  try {
    for (const { name, model, port } of house.config.doorPorts) {
      const door = checkDoor(name, model)
      const opened = door ? await httpPort(app, door, model) : grpcPort(house, gate)
      await listen(opened.server, port, house.config.host)
      servers.push(opened)
      const address = opened.server.address() as { port: number }
      ports.push({ name, port: address.port, ...(model !== undefined && { model }) })
    }
  } catch (error) {
    await close()
    throw error
  }
  return { ports, close }
}

/** The same server behind another port: paths of the door are moved to where it lies. */
async function httpPort(app: FastifyInstance, { ownPort }: Door, model: string | undefined) {
  const { mount, owns } = ownPort!
  const base = mount.replace(':model', encodeURIComponent(model ?? ''))
  const { createServer } = await import('node:http') // with it comes Node's fetch, which not every server needs
  const server = createServer(
    { maxHeaderSize: 16_384, headersTimeout: 10_000, requestTimeout: 300_000, keepAliveTimeout: 30_000 },
    (request, response) => {
      const url = request.url ?? '/'
      if (owns.test(url.split('?')[0])) request.url = base + url
      app.routing(request, response)
    },
  )
  return { server, end: () => server.closeIdleConnections() }
}

/** gRPC: its library is loaded with the first connection, so that a server nobody calls this way does not pay for it. */
function grpcPort(house: House, gate: Gate) {
  let loading: Promise<import('./oip/grpc.ts').GrpcServer> | undefined
  const server = createNetServer((socket) => {
    socket.on('error', () => undefined) // a caller that is gone
    loading ??= import('./oip/grpc.ts').then(({ grpcServer }) => grpcServer(house, gate))
    loading.then(
      (grpc) => grpc.serve(socket),
      () => socket.destroy(),
    )
  })
  return { server, end: () => void loading?.then((grpc) => grpc.close()) }
}

async function listen(server: Server, port: number, host: string) {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const busy = error.code === 'EADDRINUSE' || error.code === 'EACCES'
      reject(busy ? fail('PORT_BUSY', { port, other: port + 1 }, { cause: error }) : error)
    })
    server.listen(port, host, resolve)
  })
}
