import { homedir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseBytes, parseDuration } from './units.ts'

/** A protocol at a port of its own; `model` for those that serve one model. */
export interface DoorPort {
  name: string
  model?: string
  port: number
}

/** Limits and defaults of a server; each can be set in code, the first ones by environment or flags. */
export interface Config {
  /** Data folder: database, blobs, runs. `ATHANOR_HOME`, else `~/.athanor`. */
  home: string
  /** `postgres://…`, where rows are kept instead of SQLite in the data folder. `ATHANOR_DATABASE`. */
  database: string
  /** `s3://bucket/prefix?endpoint=…`, where files are kept instead of the data folder. `ATHANOR_BLOBS`. */
  blobs: string
  /** Days that deleted versions are kept. `ATHANOR_RETENTION_DAYS`. */
  retentionDays: number
  /** Milliseconds between two looks for what is over that time, and for files that nothing refers to; 0 for never. `ATHANOR_COLLECT=6h`. */
  collectEvery: number
  host: string
  port: number
  /** Ask for a key on a loopback address too: for a server behind a proxy. `ATHANOR_REQUIRE_KEYS=1`. */
  requireKeys: boolean
  /** `ATHANOR_OIDC_*`: where people sign in, and what their tokens say of them. */
  oidc: Readonly<Record<string, string>>
  /** Protocols that have a port of their own beside the main one. */
  doorPorts: readonly DoorPort[]
  logLevel: 'silent' | 'error' | 'warn' | 'info' | 'debug'
  /** Largest request body in bytes, for everything but dataset and model uploads. */
  bodyLimit: number
  /** Largest upload of a dataset or model file in bytes. */
  uploadLimit: number
  /** Longest text that a model accepts, in UTF-16 units. */
  textLimit: number
  /** Most texts or rows in one request. */
  batchLimit: number
  /** Requests that may wait for one model before new ones are refused. */
  queueLimit: number
  /** Default time a request may take, in milliseconds. */
  deadline: number
  /** Whether texts of requests are kept, so that corrections can become training data. `ATHANOR_KEEP_TEXTS=1`. */
  keepTexts: boolean
  /** Whether addresses, phone, card and resident numbers and keys are taken out of texts that are kept. `ATHANOR_REDACT=0`: no. */
  redact: boolean
  /** Share of answered requests that are logged, 0 to 1; ten a second if absent. Failed ones are all. `ATHANOR_LOG_REQUESTS`. */
  logRequests: number | undefined
  /** Days that logged requests are kept. `ATHANOR_LOG_DAYS`. */
  logDays: number
  /** Variables of the environment that OpenTelemetry names: with `OTEL_EXPORTER_OTLP_ENDPOINT`, traces and metrics are sent. */
  telemetry: Readonly<Record<string, string>>
  /** Predictions kept, so that labels can be attached to requests; the oldest go first. */
  predictionsKept: number
  /** Where alerts are posted. `ATHANOR_ALERT_WEBHOOK`; its host must be in `ATHANOR_ALLOWED_HOSTS` (comma-separated). */
  alertWebhook: string
  allowedHosts: readonly string[]
  /** Where the server itself fetches published models for whoever may write: `hf`, `npm`; nowhere by default. `ATHANOR_FETCH=hf,npm`. */
  fetch: readonly string[]
  /** Folder of engines that are installed on demand: `ATHANOR_ENGINES`, else `engines` in the data folder. */
  engines: string
  /** Default time that writing a text may take, in milliseconds. */
  generationDeadline: number
  /** Milliseconds without a request after which an engine is ended; 0 for never. `ATHANOR_KEEP_ALIVE=10m`. */
  keepAlive: number
  /** Bytes that all engines together may take. `ATHANOR_MEMORY_BUDGET=4GiB`, else a share of what the process may use. */
  memoryBudget: number
  /** A started process waits for the next version that is loaded. `ATHANOR_SPARE_ENGINE=0`: none, which saves its memory. */
  spareEngine: boolean
}

/** Share of the memory of the machine, or of what the process is confined to, that engines may take by default. */
const ENGINES_SHARE = 0.7

/** The configuration from defaults, the environment, and what the caller sets. */
export function configure(overrides: Partial<Config> = {}, env: NodeJS.ProcessEnv = process.env): Config {
  return {
    home: env.ATHANOR_HOME || join(homedir(), '.athanor'),
    database: env.ATHANOR_DATABASE ?? '',
    blobs: env.ATHANOR_BLOBS ?? '',
    retentionDays: Number(env.ATHANOR_RETENTION_DAYS || 30),
    collectEvery: parseDuration('ATHANOR_COLLECT', env.ATHANOR_COLLECT || '6h'),
    host: '127.0.0.1',
    port: 7700,
    requireKeys: env.ATHANOR_REQUIRE_KEYS === '1',
    oidc: variables(env, 'ATHANOR_OIDC_'),
    doorPorts: [],
    logLevel: 'info',
    bodyLimit: 16 << 20,
    uploadLimit: 4 * 2 ** 30,
    textLimit: 100_000,
    batchLimit: 1_024,
    queueLimit: 1_024,
    deadline: 30_000,
    keepTexts: env.ATHANOR_KEEP_TEXTS === '1',
    redact: env.ATHANOR_REDACT !== '0',
    logRequests: share(env.ATHANOR_LOG_REQUESTS),
    logDays: Number(env.ATHANOR_LOG_DAYS) || 30,
    telemetry: variables(env, 'OTEL_'),
    predictionsKept: 100_000,
    alertWebhook: env.ATHANOR_ALERT_WEBHOOK ?? '',
    allowedHosts: listOf(env.ATHANOR_ALLOWED_HOSTS),
    fetch: listOf(env.ATHANOR_FETCH),
    engines: env.ATHANOR_ENGINES ?? '',
    generationDeadline: 300_000,
    keepAlive: parseDuration('ATHANOR_KEEP_ALIVE', env.ATHANOR_KEEP_ALIVE || 'never'),
    memoryBudget: env.ATHANOR_MEMORY_BUDGET
      ? parseBytes('ATHANOR_MEMORY_BUDGET', env.ATHANOR_MEMORY_BUDGET)
      : Math.floor(ENGINES_SHARE * usableMemory()),
    spareEngine: env.ATHANOR_SPARE_ENGINE !== '0',
    ...Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== undefined)),
  }
}

/** What stands between commas. */
const listOf = (text = ''): string[] => text.split(',').filter(Boolean)

/** Variables of the environment that begin so and are not empty. */
const variables = (env: NodeJS.ProcessEnv, prefix: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (name.startsWith(prefix) && value ? [[name, value]] : [])),
  )

/** Bytes of the machine's memory, or of the control group's limit where that is lower. */
function usableMemory(): number {
  const confined = process.constrainedMemory()
  return confined > 0 ? Math.min(confined, totalmem()) : totalmem()
}

/** A share from 0 to 1; what is none counts as not given. */
function share(text: string | undefined): number | undefined {
  const value = Number(text)
  return text && value >= 0 && value <= 1 ? value : undefined
}

export const enginesFolder = ({ engines, home }: Config) => engines || join(home, 'engines')
