import { join } from 'node:path'
import { Access, local } from './access/access.ts'
import { DEFAULT_TENANT } from './access/roles.ts'
import { type Config, configure, type DoorPort, enginesFolder } from './base/config.ts'
import { Egress } from './base/egress.ts'
import { asAthanorError, fail } from './base/errors.ts'
import { version } from './base/version.ts'
import { Gate } from './doors/gate.ts'
import { Houses, type OpenHouse } from './doors/houses.ts'
import { openPorts } from './doors/ports.ts'
import type { House } from './doors/route.ts'
import { createServer } from './doors/server.ts'
import { Spare } from './engine/processes.ts'
import { refinement } from './refine/refinement.ts'
import { Registry } from './registry/registry.ts'
import { Webhooks } from './registry/webhooks.ts'
import { Deployments } from './serve/deployments.ts'
import { Engines } from './serve/engines.ts'
import { Memory } from './serve/memory.ts'
import { Rollouts } from './serve/rollouts.ts'
import { AlertRules } from './store/alert-rules.ts'
import { AlertRecords } from './store/alerts.ts'
import { Artifacts } from './store/artifacts.ts'
import { Datasets } from './store/datasets.ts'
import { ErrorGroups } from './store/error-groups.ts'
import { HistoryRows } from './store/history.ts'
import { removeServerInfo, writeServerInfo } from './store/home.ts'
import { LogEntries } from './store/log.ts'
import { Predictions } from './store/predictions.ts'
import { LoggedRequests } from './store/requests.ts'
import { RolloutRecords } from './store/rollouts.ts'
import { Secrets } from './store/secrets.ts'
import { openStore, placesOf, type Store } from './store/store.ts'
import { Tracking } from './store/tracking.ts'
import { Transfers } from './store/transfers.ts'
import { Windows } from './store/windows.ts'
import { Runs } from './train/runs.ts'
import { Alerts, checkWebhook } from './watch/alerts.ts'
import { Canary } from './watch/canary.ts'
import { Drift } from './watch/drift.ts'
import { ErrorWatch } from './watch/errors.ts'
import { Feedback } from './watch/feedback.ts'
import { History } from './watch/history/history.ts'
import { Log } from './watch/log.ts'
import { Metrics, type Samples } from './watch/metrics/metrics.ts'
import type { OpenTelemetry } from './watch/otel/otel.ts'
import { readTelemetry, wantsTelemetry } from './watch/otel/settings.ts'
import { redact } from './watch/requests/redact.ts'
import { RequestLog } from './watch/requests/request-log.ts'
import { readMachine } from './watch/resources/machine.ts'
import { ownUse, useOf } from './watch/resources/processes.ts'
import { Rules } from './watch/rules/rules.ts'

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

/** What the houses of all tenants share. */
interface Shared {
  readonly config: Config
  readonly access: Access
  readonly webhook: URL | undefined
  readonly url: () => string
  readonly memory: Memory
  readonly spare: Spare | undefined
  /** Of every tenant that has been opened. */
  readonly canaries: Canary[]
  readonly telemetry: OpenTelemetry | undefined
}

/** Puts the rooms of a tenant together, on a store that `close` closes. */
async function openHouse(
  { config, access, webhook, url, memory, spare, canaries, telemetry }: Shared,
  tenant: string,
  store: Store,
): Promise<OpenHouse> {
  const registry = new Registry(store)
  await registry.indexMissing()
  const datasets = new Datasets(store)
  const runs = await Runs.open(store, registry, refinement(registry, datasets))
  const metrics = new Metrics()
  const entries = new LogEntries(store)
  const log = new Log(entries, config.logLevel)
  const alerts = await Alerts.load(new AlertRecords(store), log, webhook)
  const keep = config.keepTexts ? (config.redact ? redact : (text: string) => text) : undefined
  const errorWatch = new ErrorWatch(new ErrorGroups(store), (error) =>
    log.warn('errors.unsaved', { message: asAthanorError(error).message }),
  )
  log.onError = (entry) => errorWatch.add(entry)
  const requestLog = new RequestLog(new LoggedRequests(store), log, {
    share: config.logRequests,
    days: config.logDays,
    ...(keep && { keep }),
  })
  const drift = new Drift(new Windows(store), alerts, metrics)
  const feedback = new Feedback(new Predictions(store, config.predictionsKept), alerts, log, keep)
  const history = new History(new HistoryRows(store), log)
  const webhooks = new Webhooks(store, {
    allowedHosts: config.allowedHosts,
    onGivenUp: (url, event) => log.warn('webhook.unsent', { message: `${url} did not take ${event}` }),
  })
  const following = store.shared ? registry.follow() : undefined
  const rules = await Rules.load(new AlertRules(store), {
    alerts,
    history,
    log,
    machine: () => readMachine(store.home),
  })
  const outside = {
    egress: new Egress(config.allowedHosts),
    secrets: new Secrets(store.home),
    engines: enginesFolder(config),
    ...(spare && { spare }),
  }
  const rollouts = await Rollouts.open(new RolloutRecords(store), registry)
  const engines = new Engines(registry, { keepAlive: config.keepAlive, memory, outside })
  const deployments = new Deployments({ registry, config, rollouts, engines })
  rollouts.onChange = (model, { who, what, detail }) => {
    log.info('deployment.changed', { model, message: `${model}: ${what} ${detail} (${who})` })
  }
  rollouts.onError = (error) => log.error('deployment.unkept', error)
  deployments.onWindow = (version, window) => {
    drift.observe(version, window).catch((error) => log.error('drift.unjudged', error, { model: version.name }))
  }
  deployments.onCrash = ({ name, version }, reason) => {
    metrics.crashed(name, version)
    log.error('engine.crashed', fail('ENGINE_CRASHED', { name }, { cause: reason }), { model: name, version })
  }
  runs.onFailure = (run, error) => log.error('run.failed', error, { requestId: run })
  const canary = new Canary(() => deployments.engines)
  canaries.push(canary)
  const samples = async (): Promise<Samples> => ({
    engines: (await deployments.list()).map(({ pid, ...engine }) => {
      const use = pid === undefined ? undefined : useOf(pid)
      return { ...engine, ...(use && { use }) }
    }),
    activeRuns: runs.active,
    openAlerts: countBy(alerts.open, ({ rule }) => rule),
    server: ownUse(),
    machine: readMachine(store.home),
  })
  telemetry?.add(tenant, async () => metrics.state(await samples()))
  const house: House = {
    tenant,
    who: access.inTenant(local, tenant),
    access,
    config,
    store,
    registry,
    webhooks,
    datasets,
    transfers: new Transfers(store.home),
    tracking: new Tracking(store),
    artifacts: new Artifacts(store),
    runs,
    deployments,
    rollouts,
    outside,
    entries,
    metrics,
    observe(served) {
      metrics.observe(served)
      history.observe(served)
      canary.observe(served)
      telemetry?.observe(served)
      requestLog.observe(served)
    },
    samples,
    telemetry,
    health: async () => (await Promise.all(canaries.map((one) => one.check()))).flat(),
    history,
    errorWatch,
    requestLog,
    drift,
    alerts,
    rules,
    feedback,
    log,
    startedAt: performance.now(),
    url,
  }
  for (const model of rollouts.pinned)
    deployments.load(model).catch((error) => log.error('model.unloaded', error, { model }))
  return {
    house,
    stop: () => runs.close(),
    async close() {
      await deployments.close()
      await rollouts.close()
      following?.close()
      await webhooks.close()
      await rules.close()
      await feedback.close()
      await history.close()
      await requestLog.close()
      await errorWatch.close()
      await alerts.close()
      await log.close()
      metrics.close()
      await store.close()
    },
  }
}

/**
 * Opens the data folder, puts the rooms together and listens. Throws HOME_BUSY, HOME_UNUSABLE, PORT_BUSY, OPTION_INVALID,
 * or KEYS_MISSING for an address that others reach while there is no key to ask them for.
 */
export async function startApp(overrides: Partial<Config> = {}): Promise<App> {
  const config = configure(overrides)
  const webhook = checkWebhook(config.alertWebhook, config.allowedHosts)
  const store = await openStore(config.home, placesOf(config, DEFAULT_TENANT))
  let close = () => store.close()
  try {
    const access = await Access.open(store, config.requireKeys || !loopback.has(config.host))
    if (access.keysRequired && !access.keys.any) throw fail('KEYS_MISSING', { host: config.host })
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
    const houses = new Houses(async (tenant) =>
      openHouse(
        shared,
        tenant,
        tenant === DEFAULT_TENANT
          ? store
          : await openStore(join(config.home, 'tenants', tenant), placesOf(config, tenant)),
      ),
    )
    const house = await houses.of(DEFAULT_TENANT)
    const { log } = house
    if (telemetry) telemetry.onUnsent = (message) => log.warn('telemetry.unsent', { message })
    access.ledger.onError = (error) => log.error('usage.unsaved', error)
    const gate = new Gate(access, (tenant) => houses.of(tenant))
    const server = await createServer(house, gate)
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
    try {
      url = (await server.listen({ host: config.host, port: config.port })).replace('[::1]', 'localhost')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EADDRINUSE' || code === 'EACCES')
        throw fail('PORT_BUSY', { port: config.port, other: config.port + 1 }, { cause: error })
      throw error
    }
    doorPorts = await openPorts(server, house, gate)
    const info = { url, pid: process.pid }
    writeServerInfo(config.home, access.keysRequired ? { ...info, key: access.keys.localToken } : info)
    log.info('server.started', { message: url })
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

/** What sends traces and metrics to a collector: loaded only where one is named. Throws OPTION_INVALID. */
async function openTelemetry({ telemetry }: Config): Promise<OpenTelemetry | undefined> {
  if (!wantsTelemetry(telemetry)) return undefined
  const { OpenTelemetry } = await import('./watch/otel/otel.ts')
  return new OpenTelemetry(readTelemetry(telemetry, version), version)
}

function countBy<T>(items: Iterable<T>, keyOf: (item: T) => string): Map<string, number> {
  return new Map([...Map.groupBy(items, keyOf)].map(([key, group]) => [key, group.length]))
}
