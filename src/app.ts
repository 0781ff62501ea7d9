import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { Access } from './access/access.ts'
import { readOidc } from './access/oidc.ts'
import { DEFAULT_TENANT } from './access/roles.ts'
import { openHouse } from './app/house.ts'
import type { Shared } from './app/shared.ts'
import { openTelemetry } from './app/telemetry.ts'
import { type Config, configure, type DoorPort } from './base/config.ts'
import { fail } from './base/errors.ts'
import { Gate } from './doors/gate.ts'
import { Houses } from './doors/houses.ts'
import { openPorts } from './doors/ports.ts'
import type { House } from './doors/route.ts'
import { createServer } from './doors/server.ts'
import { Spare } from './engine/processes.ts'
import { Memory } from './serve/memory.ts'
import { removeServerInfo, writeServerInfo } from './store/home.ts'
import { openStore, placesOf } from './store/store.ts'
import { checkWebhook } from './watch/alerts.ts'

export interface App {
  readonly url: string
  readonly config: Config
  /** Ports of protocols that have one of their own. */
  readonly doorPorts: readonly DoorPort[]
  /** The rooms of the tenant `default`. */
  readonly house: House
  houseOf(tenant: string): House | Promise<House>
  /** Refuses new requests, lets what is in flight end, interrupts training resumably and gives the data folder back. */
  close(): Promise<void>
}

const loopback = new Set(['127.0.0.1', 'localhost', '::1'])

/**
 * Opens the data folder, puts the rooms together and listens. Throws HOME_BUSY, HOME_UNUSABLE, PORT_BUSY, OPTION_INVALID,
 * or KEYS_MISSING for an address that others reach while there is no key to ask them for. `passing`: other commands are told
 * that it ends with this one.
 */
export async function startApp(
  overrides: Partial<Config> = {},
  { passing = false }: { passing?: boolean } = {},
): Promise<App> {
  const config = configure(overrides)
  const webhook = checkWebhook(config.alertWebhook, config.allowedHosts)
  const store = await openStore(config.home, placesOf(config, DEFAULT_TENANT))
  let close = () => store.close()
  try {
    const access = await Access.open(store, config.requireKeys || !loopback.has(config.host), readOidc(config.oidc))
    if (access.keysRequired && !access.keys.any && !access.login) throw fail('KEYS_MISSING', { host: config.host })
    const telemetry = await openTelemetry(config)
    let url = ''
    const shared: Shared = {
      config,
      access,
      webhook,
      url: () => url,
      memory: new Memory(config.memoryBudget),
      spare: config.spareEngine ? new Spare() : undefined,
      canaries: [],
      telemetry,
    }
    const storeOf = (tenant: string) =>
      tenant === DEFAULT_TENANT ? store : openStore(join(config.home, 'tenants', tenant), placesOf(config, tenant))
    const houses = new Houses(async (tenant) => openHouse(shared, tenant, await storeOf(tenant)))
    const house = await houses.of(DEFAULT_TENANT)
    const { log } = house
    if (telemetry) telemetry.onUnsent = (message) => log.warn('telemetry.unsent', { message })
    access.ledger.onError = (error) => log.error('usage.unsaved', error)
    const gate = new Gate(access, (tenant) => houses.of(tenant))
    const server = createServer(house, gate)
    let doorPorts: Awaited<ReturnType<typeof openPorts>> | undefined
    close = async () => {
      await houses.stop()
      const cut = setTimeout(() => server.server.closeAllConnections(), 10_000)
      await Promise.all([server.close(), doorPorts?.close()])
      clearTimeout(cut)
      await telemetry?.close()
      await access.close()
      await houses.close()
      shared.spare?.close()
    }
    url = await listen(server, config)
    doorPorts = await openPorts(server, house, gate)
    const info = { url, pid: process.pid, ...(passing && { passing }) }
    writeServerInfo(config.home, access.keysRequired ? { ...info, key: access.keys.localToken } : info)
    let closing: Promise<void> | undefined
    return {
      url,
      config,
      doorPorts: doorPorts.ports,
      house,
      houseOf: (tenant) => houses.of(tenant),
      close() {
        removeServerInfo(config.home)
        closing ??= close()
        return closing
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** The address that the server listens at; throws PORT_BUSY. */
async function listen(server: FastifyInstance, { host, port }: Config): Promise<string> {
  try {
    return (await server.listen({ host, port })).replace('[::1]', 'localhost')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EADDRINUSE' || code === 'EACCES') throw fail('PORT_BUSY', { port, other: port + 1 }, { cause: error })
    throw error
  }
}
