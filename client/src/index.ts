import { type AuditEntry, keyCalls, priceCalls, tenantCalls, usageCalls, userCalls, type WhoAmI } from './access.ts'
import { Asking } from './asking.ts'
import { datasetCalls } from './datasets.ts'
import { deploymentCalls } from './deployments.ts'
import { type FormatInfo, fileCalls } from './files.ts'
import { type ClientOptions, Http, modelPath } from './http.ts'
import { modelCalls } from './models.ts'
import { storeCalls } from './registry.ts'
import { type Run, runCalls } from './runs.ts'
import type { Advice, Evaluation, RefineSpec, RunSpec } from './training.ts'
import type { Status } from './types.ts'
import {
  type Alert,
  alertRuleCalls,
  type DriftReport,
  type EngineInfo,
  type ErrorGroup,
  type HistoryQuery,
  type HistoryReport,
  type LogEntry,
  type LoggedRequest,
  type Resources,
} from './watching.ts'

export type * from './access.ts'
export type * from './answers.ts'
export type * from './datasets.ts'
export type * from './deployments.ts'
export { AthanorError } from './error.ts'
export type * from './files.ts'
export type { ClientOptions } from './http.ts'
export type * from './models.ts'
export type * from './registry-types.ts'
export type * from './remote.ts'
export type * from './runs.ts'
export type * from './training.ts'
export type * from './types.ts'
export type * from './watching.ts'

/**
 * A client of an Athanor server. Every method throws AthanorError with the server's code, status, hint and request id.
 *
 * @example
 * const athanor = new Athanor()
 * const [best] = await athanor.predict('sentiment', 'what a lovely film')
 */
export class Athanor extends Asking {
  readonly url: string

  constructor(options: ClientOptions = {}) {
    super(new Http(options))
    this.url = this.http.url
  }

  /** Files on their way to an import, or from an export; an upload or download that broke off goes on where it stopped. */
  readonly files = fileCalls(this.http)
  readonly models = modelCalls(this.http, this.files)
  readonly datasets = datasetCalls(this.http)
  readonly runs = runCalls(this.http)
  /** Which versions answer for a model, and how it is served. */
  readonly deployments = deploymentCalls(this.http)
  /** Webhooks and housekeeping of the registry's files. */
  readonly registry = storeCalls(this.http)
  /** Rules that alerts are opened by, beside drift and accuracy. */
  readonly alertRules = alertRuleCalls(this.http)
  readonly keys = keyCalls(this.http)
  readonly users = userCalls(this.http)
  readonly tenants = tenantCalls(this.http)
  readonly prices = priceCalls(this.http)
  readonly usage = usageCalls(this.http)

  /** Formats that models are read from and written to. */
  async formats(): Promise<FormatInfo[]> {
    return (await this.http.json<{ formats: FormatInfo[] }>('/api/formats')).formats
  }

  /** All rows and files of the server as they are now, as a tar file that `athanor restore` reads. */
  async backup(): Promise<ReadableStream<Uint8Array>> {
    return (await this.http.send('/api/backup', { timeout: 0 })).body!
  }

  /** Who the key of this client belongs to, and what is left of its limits and budgets. */
  whoami(): Promise<WhoAmI> {
    return this.http.json('/api/whoami')
  }

  /** Who changed what, newest first. */
  async audit({ all, ...filter }: { actor?: string; limit?: number; all?: boolean } = {}): Promise<AuditEntry[]> {
    const query = { ...filter, ...(all && { all: 'true' }) }
    return (await this.http.json<{ entries: AuditEntry[] }>('/api/audit', { query })).entries
  }

  /** Refines a version in a run of its own; follow it with `runs.events`. A refused one fails with GATE_REFUSED. */
  refine(spec: RefineSpec): Promise<Run> {
    return this.http.json('/api/refinements', { method: 'POST', json: spec })
  }

  /** What is seen in a data set, and what to try on it, with reasons and estimated time; trains nothing. */
  advise(dataset: string, more: Pick<RunSpec, 'read' | 'problem' | 'dropUnlabelled'> = {}): Promise<Advice> {
    return this.http.json('/api/advice', { method: 'POST', json: { dataset, ...more }, timeout: 0, again: true })
  }

  /** What a text model scores on a labelled data set: accuracy and F1, or errors for a number. */
  evaluate(model: string, dataset: string, read?: RunSpec['read']): Promise<Evaluation> {
    return this.http.json('/api/evaluations', {
      method: 'POST',
      json: { model, dataset, ...(read && { read }) },
      timeout: 0,
      again: true,
    })
  }

  async logs(
    filter: { level?: string; model?: string; code?: string; request?: string; since?: string; limit?: number } = {},
  ): Promise<LogEntry[]> {
    return (await this.http.json<{ entries: LogEntry[] }>('/api/logs', { query: filter })).entries
  }

  /** Errors that are alike, newest first. */
  async errors(filter: { model?: string; code?: string; limit?: number } = {}): Promise<ErrorGroup[]> {
    return (await this.http.json<{ errors: ErrorGroup[] }>('/api/errors', { query: filter })).errors
  }

  /** Errors that are alike, with the stack of the newest. */
  error(fingerprint: string): Promise<ErrorGroup> {
    return this.http.json(`/api/errors/${encodeURIComponent(fingerprint)}`)
  }

  /** Logged requests, newest first. */
  async requests(
    filter: { model?: string; code?: string; door?: string; request?: string; since?: string; limit?: number } = {},
  ): Promise<LoggedRequest[]> {
    return (await this.http.json<{ requests: LoggedRequest[] }>('/api/requests', { query: filter })).requests
  }

  /** How the requests of a version compare with its held-out rows. */
  drift(model: string, options: { limit?: number } = {}): Promise<DriftReport> {
    return this.http.json(`${modelPath(model)}/drift`, { query: options })
  }

  /** Alerts, newest first. */
  async alerts({ open, limit }: { open?: boolean; limit?: number } = {}): Promise<Alert[]> {
    const query = { ...(open && { open: 'true' }), limit }
    return (await this.http.json<{ alerts: Alert[] }>('/api/alerts', { query })).alerts
  }

  /** Keeps an alert from being told of again, for good or for so many minutes. */
  silence(alert: number, minutes?: number): Promise<void> {
    return this.http.json(`/api/alerts/${alert}/silence`, { method: 'POST', json: { ...(minutes && { minutes }) } })
  }

  /** Tells the right label of a row of an answered request. */
  feedback(
    requestId: string,
    label: string,
    row = 0,
  ): Promise<{ model: string; version: number; predicted: string; right: boolean }> {
    return this.http.json('/api/feedback', { method: 'POST', json: { requestId, row, label } })
  }

  /** Makes a data set of the labelled texts of a model; its id can be trained on. */
  feedbackDataset(model: string): Promise<{ id: string; filename: string; rows: number }> {
    return this.http.json(`${modelPath(model)}/feedback/dataset`, { method: 'POST' })
  }

  async engines(): Promise<EngineInfo[]> {
    return (await this.http.json<{ engines: EngineInfo[] }>('/api/engines')).engines
  }

  /** Requests, errors, latencies and tokens by the minute or the hour. */
  history({ by, ...query }: HistoryQuery = {}): Promise<HistoryReport> {
    return this.http.json('/api/history', { query: { ...query, ...(by && { by: by.join(',') }) } })
  }

  /** What the server and the machine have and use. */
  resources(): Promise<Resources> {
    return this.http.json('/api/resources')
  }

  status(): Promise<Status> {
    return this.http.json('/api/status')
  }

  /** The server's metrics as Prometheus reads them. */
  async metrics(): Promise<string> {
    return (await this.http.send('/metrics', {})).text()
  }
}
