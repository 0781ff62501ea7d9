import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A port of this machine that leads to another, and can be cut and mended: a server that goes away. */
export interface Cable {
  readonly port: number
  cut(): Promise<void>
  mend(): Promise<void>
}

export async function openCable(target: { host: string; port: number }): Promise<Cable> {
  const sockets = new Set<Socket>()
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).once('close', () => sockets.delete(socket))
    return socket
  }
  const server = createServer((near) => {
    const far = keep(connect(target.port, target.host))
    keep(near).pipe(far).pipe(near)
    near.once('close', () => far.destroy())
    far.once('close', () => near.destroy())
  })
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    port,
    async cut() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
    mend: () => listen(port),
  }
}
