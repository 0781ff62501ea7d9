import { type AuditEntry, accessOf, type WhoAmI } from './access.ts'
import { deploymentCalls } from './deployments.ts'
import { AthanorError, unreachable } from './error.ts'
import { parseEvents } from './events.ts'
import { type Call, type ClientOptions, Http } from './http.ts'
import { registryCalls, storeCalls } from './registry.ts'
import type { RemoteSpec } from './remote.ts'
import type {
  Advice,
  Alert,
  AlertRule,
  ChatMessage,
  Dataset,
  DriftReport,
  EngineInfo,
  Entity,
  ErrorBody,
  ErrorGroup,
  Evaluation,
  Exported,
  ExportOptions,
  Fill,
  FormatInfo,
  GenerateOptions,
  Generation,
  GenerationEvent,
  HistoryQuery,
  HistoryReport,
  ImportOptions,
  JsonTensor,
  LogEntry,
  LoggedRequest,
  ModelDetail,
  Prediction,
  Ranked,
  RefineSpec,
  Resources,
  Run,
  RunSpec,
  Snippet,
  Status,
  TrainEvent,
  Transfer,
} from './types.ts'

export type * from './access.ts'
export type * from './deployments.ts'
export { AthanorError } from './error.ts'
export type { ClientOptions } from './http.ts'
export type * from './registry-types.ts'
export type * from './remote.ts'
export type * from './types.ts'

interface TextOptions {
  topK?: number
  signal?: AbortSignal
}

const ended = new Set(['done', 'failed', 'cancelled', 'interrupted'])
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const pathOf = (model: string) => `/api/models/${encodeURIComponent(model)}`

/**
 * A client of an Athanor server. Every method throws AthanorError with the server's code, status, hint and request id.
 *
 * @example
 * const athanor = new Athanor()
 * const [best] = await athanor.predict('sentiment', 'what a lovely film')
 */
export class Athanor {
  readonly url: string
  readonly #http: Http

  constructor(options: ClientOptions = {}) {
    this.#http = new Http(options)
    this.url = this.#http.url
  }

  /** Labels of a text, best first. */
  async predict(model: string, text: string, options: TextOptions = {}): Promise<Ranked[]> {
    const [first] = await this.predictAll(model, [text], options)
    return first
  }

  /** Labels of each text, best first. */
  async predictAll(model: string, texts: readonly string[], options: TextOptions = {}): Promise<Ranked[][]> {
    return (await this.predictDetailed(model, texts, options)).outputs
  }

  /** As `predictAll`, with version, request id and timings. */
  predictDetailed(model: string, texts: readonly string[], options: TextOptions = {}): Promise<Prediction<Ranked[][]>> {
    return this.ask(model, texts, options)
  }

  /** A vector for each text, of a model that embeds (`feature-extraction`). */
  async embed(model: string, texts: readonly string[], options: { signal?: AbortSignal } = {}): Promise<number[][]> {
    return (await this.ask<number[]>(model, texts, options)).outputs
  }

  /** For each text the likeliest words of each of its masks, of a `fill-mask` model. */
  async fillMask(model: string, texts: readonly string[], options: TextOptions = {}): Promise<Fill[][][]> {
    return (await this.ask<Fill[][]>(model, texts, options)).outputs
  }

  /** For each text its labelled stretches, of a `token-classification` model. */
  async entities(model: string, texts: readonly string[], options: { signal?: AbortSignal } = {}): Promise<Entity[][]> {
    return (await this.ask<Entity[]>(model, texts, options)).outputs
  }

  /** What a model of texts answers, as its task has it; with version, request id and timings. */
  ask<Output = unknown>(
    model: string,
    texts: readonly string[],
    { topK, signal }: TextOptions = {},
  ): Promise<Prediction<Output[]>> {
    const json = { inputs: texts, ...(topK !== undefined && { parameters: { topK } }) }
    return this.#json(`${pathOf(model)}/predict`, { method: 'POST', json, ...(signal && { signal }) })
  }

  /** What a model of another of the hub's tasks answers (`question-answering`, `object-detection`, …); files go in base64. */
  async run<Output = unknown>(model: string, inputs: unknown, parameters: object = {}): Promise<Output> {
    const json = { inputs, parameters }
    return (await this.#json<Prediction<Output>>(`${pathOf(model)}/run`, { method: 'POST', json })).outputs
  }

  /** Labels of an image file (its bytes), best first. */
  async classifyImage(model: string, image: Uint8Array | Blob, { topK, signal }: TextOptions = {}): Promise<Ranked[]> {
    const { outputs } = await this.#json<Prediction<Ranked[][]>>(`${pathOf(model)}/images`, {
      method: 'POST',
      query: { topK },
      body: image as BodyInit,
      headers: { 'content-type': 'application/octet-stream' },
      ...(signal && { signal }),
    })
    return outputs[0]
  }

  /** Outputs of a model that takes tensors. */
  infer(
    model: string,
    inputs: Record<string, JsonTensor>,
  ): Promise<Prediction<Record<string, JsonTensor & { dtype: string }>>> {
    return this.#json(`${pathOf(model)}/predict`, { method: 'POST', json: { inputs } })
  }

  /** A text that the model writes after a prompt or messages, once it is complete. */
  generate(
    model: string,
    prompt: string | ChatMessage[],
    { signal, ...parameters }: GenerateOptions & { signal?: AbortSignal } = {},
  ): Promise<Generation> {
    const json = { ...promptOf(prompt), parameters }
    return this.#json(`${pathOf(model)}/generate`, {
      method: 'POST',
      json,
      timeout: 0,
      ...(signal && { signal }),
    })
  }

  /** As `generate`, token by token as they come; leave the loop to stop the model. */
  async *stream(
    model: string,
    prompt: string | ChatMessage[],
    { signal, ...parameters }: GenerateOptions & { signal?: AbortSignal } = {},
  ): AsyncGenerator<GenerationEvent> {
    const json = { ...promptOf(prompt), parameters, stream: true }
    const path = `${pathOf(model)}/generate`
    const { body } = await this.#send(path, { method: 'POST', json, timeout: 0, ...(signal && { signal }) })
    for await (const { data } of parseEvents(body!)) {
      const event = JSON.parse(data) as GenerationEvent | { type: 'error'; error: ErrorBody }
      if (event.type === 'error') throw new AthanorError(event.error)
      yield event
      if (event.type === 'end') return
    }
    throw new AthanorError({
      code: 'SERVER_UNREACHABLE',
      status: 503,
      message: 'the stream broke off before its end',
      hint: 'Try again.',
    })
  }

  readonly models = {
    ...registryCalls((path, call) => this.#json(path, call)),
    show: (model: string): Promise<ModelDetail> => this.#json(pathOf(model)),
    /** Calls to copy: curl, TypeScript and Python for each protocol. */
    snippets: async (model: string): Promise<Snippet[]> =>
      (await this.#json<{ snippets: Snippet[] }>(`${pathOf(model)}/snippets`)).snippets,
    /** A module of TypeScript that calls a version with the types of its signature. */
    typedClient: async (model: string): Promise<string> => (await this.#send(`${pathOf(model)}/client`, {})).text(),
    delete: (model: string): Promise<void> => this.#json(pathOf(model), { method: 'DELETE' }),
    load: (model: string): Promise<{ model: string; version: number; loaded: boolean }> =>
      this.#json(`${pathOf(model)}/load`, { method: 'POST' }),
    unload: (model: string): Promise<{ model: string; version: number; loaded: boolean }> =>
      this.#json(`${pathOf(model)}/unload`, { method: 'POST' }),
    setAlias: (model: string, alias: string, version: number): Promise<{ aliases: Record<string, number> }> =>
      this.#json(`${pathOf(model)}/aliases/${encodeURIComponent(alias)}`, {
        method: 'PUT',
        json: { version },
      }),
    removeAlias: (model: string, alias: string): Promise<void> =>
      this.#json(`${pathOf(model)}/aliases/${encodeURIComponent(alias)}`, { method: 'DELETE' }),
    /** Registers ONNX bytes as the next version of a model that takes tensors. */
    import: (name: string, onnx: Uint8Array, { description }: { description?: string } = {}): Promise<ModelDetail> =>
      this.#json(`/api/models/${encodeURIComponent(name)}/versions`, {
        method: 'POST',
        query: { description },
        body: onnx as BodyInit,
        headers: { 'content-type': 'application/octet-stream' },
        timeout: 0,
      }),
    /** Registers a model of another server; its key is kept sealed over there and never shown again. */
    addRemote: (name: string, remote: RemoteSpec): Promise<ModelDetail> =>
      this.#json(`/api/models/${encodeURIComponent(name)}/remote`, { method: 'POST', json: remote }),
    /**
     * Registers a model of another format from its files. `tokenizer` is the JSON of a Keras Tokenizer, with which the
     * model takes texts.
     */
    importFiles: async (
      name: string,
      files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
      { tokenizer, ...options }: ImportOptions = {},
    ): Promise<ModelDetail> => {
      const sent: { name: string; digest: string }[] = []
      for (const [file, content] of Object.entries(files))
        sent.push({ name: file, digest: await this.files.upload(content) })
      const json = tokenizer === undefined ? undefined : await this.files.upload(new TextEncoder().encode(tokenizer))
      return this.models.importSent(name, sent, { ...options, ...(json && { tokenizer: json }) })
    },
    /** As `importFiles`, for files that were sent before; `tokenizer` is the sha256 of one of them. */
    importSent: (
      name: string,
      files: readonly { name: string; digest: string }[],
      options: ImportOptions = {},
    ): Promise<ModelDetail> =>
      this.#json(`/api/models/${encodeURIComponent(name)}/import`, {
        method: 'POST',
        json: { files, ...options },
        timeout: 0,
      }),
    /** Writes a version in another format; `files.download` brings each of its files. */
    export: (model: string, format: string, options: ExportOptions = {}): Promise<Exported> =>
      this.#json(`${pathOf(model)}/export`, {
        method: 'POST',
        json: { format, ...options },
        timeout: 0,
      }),
    /** Bytes of a version's file, e.g. `model.onnx`. */
    file: async (model: string, file: string): Promise<Uint8Array> => {
      const response = await this.#send(`${pathOf(model)}/files/${encodeURIComponent(file)}`, {
        timeout: 0,
      })
      return new Uint8Array(await response.arrayBuffer())
    },
  }

  /** Files on their way to an import, or from an export; an upload or download that broke off goes on where it stopped. */
  readonly files = {
    begin: (digest: string, bytes: number): Promise<Transfer> =>
      this.#json('/api/files', { method: 'POST', json: { digest, bytes } }),
    /** Sends the bytes of a file from `offset` on. */
    send: (
      { digest, bytes, offset }: Transfer,
      content: ReadableStream<Uint8Array> | Uint8Array | Blob,
    ): Promise<Transfer> =>
      this.#json(`/api/files/${digest}`, {
        method: 'PUT',
        query: { offset, bytes },
        body: content as BodyInit,
        headers: { 'content-type': 'application/octet-stream' },
        timeout: 0,
      }),
    /** Sends what the server lacks of a file and returns its sha256. */
    upload: async (content: Uint8Array<ArrayBuffer>): Promise<string> => {
      const digest = hex(await crypto.subtle.digest('SHA-256', content))
      const { offset } = await this.files.begin(digest, content.byteLength)
      if (offset < content.byteLength || content.byteLength === 0) {
        await this.files.send({ digest, bytes: content.byteLength, offset }, content.subarray(offset))
      }
      return digest
    },
    /** The bytes of a file of an export from `offset` on, as a stream. */
    download: async (digest: string, offset = 0): Promise<ReadableStream<Uint8Array>> => {
      const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {}
      return (await this.#send(`/api/files/${digest}`, { timeout: 0, headers })).body!
    },
  }

  /** Formats that models are read from and written to. */
  async formats(): Promise<FormatInfo[]> {
    return (await this.#json<{ formats: FormatInfo[] }>('/api/formats')).formats
  }

  /** Webhooks and housekeeping of the registry's files. */
  readonly registry = storeCalls((path, call) => this.#json(path, call))

  /** All rows and files of the server as they are now, as a tar file that `athanor restore` reads. */
  async backup(): Promise<ReadableStream<Uint8Array>> {
    return (await this.#send('/api/backup', { timeout: 0 })).body!
  }

  readonly datasets = {
    /** Uploads a file; a stream is sent as it comes. Name it with its ending: it tells the format. */
    upload: (filename: string, content: ReadableStream<Uint8Array> | Uint8Array | Blob): Promise<Dataset> =>
      this.#json('/api/datasets', {
        method: 'POST',
        query: { filename },
        body: content as BodyInit,
        headers: { 'content-type': 'application/octet-stream' },
        timeout: 0,
      }),
    list: async (): Promise<Dataset[]> => (await this.#json<{ datasets: Dataset[] }>('/api/datasets')).datasets,
    delete: (id: string): Promise<void> => this.#json(`/api/datasets/${encodeURIComponent(id)}`, { method: 'DELETE' }),
  }

  /** Which versions answer for a model, and how it is served. */
  readonly deployments = deploymentCalls((path, call) => this.#json(path, call))

  readonly runs = {
    create: (spec: RunSpec): Promise<Run> => this.#json('/api/runs', { method: 'POST', json: spec }),
    list: async (): Promise<Run[]> => (await this.#json<{ runs: Run[] }>('/api/runs')).runs,
    get: (run: string): Promise<Run> => this.#json(`/api/runs/${encodeURIComponent(run)}`),
    cancel: (run: string): Promise<Run> =>
      this.#json(`/api/runs/${encodeURIComponent(run)}/cancel`, { method: 'POST' }),
    interrupt: (run: string): Promise<Run> =>
      this.#json(`/api/runs/${encodeURIComponent(run)}/interrupt`, { method: 'POST' }),
    resume: (run: string): Promise<Run> =>
      this.#json(`/api/runs/${encodeURIComponent(run)}/resume`, { method: 'POST' }),
    /** What a run tells, from its beginning (or after event `after`) to its end; reconnects where the stream breaks. */
    events: (run: string, options: { signal?: AbortSignal; after?: number } = {}): AsyncGenerator<TrainEvent> =>
      this.#events(run, options),
  }

  /** Who the key of this client belongs to, and what is left of its limits and budgets. */
  whoami(): Promise<WhoAmI> {
    return this.#json('/api/whoami')
  }

  readonly #access = accessOf(() => this.#http)
  readonly keys = this.#access.keys
  readonly users = this.#access.users
  readonly tenants = this.#access.tenants
  readonly prices = this.#access.prices
  readonly usage = this.#access.usage

  /** Who changed what, newest first. */
  async audit({ all, ...filter }: { actor?: string; limit?: number; all?: boolean } = {}): Promise<AuditEntry[]> {
    const query = { ...filter, ...(all && { all: 'true' }) }
    return (await this.#json<{ entries: AuditEntry[] }>('/api/audit', { query })).entries
  }

  /** Refines a version in a run of its own; follow it with `runs.events`. A refused one fails with GATE_REFUSED. */
  refine(spec: RefineSpec): Promise<Run> {
    return this.#json('/api/refinements', { method: 'POST', json: spec })
  }

  /** What is seen in a data set, and what to try on it, with reasons and estimated time; trains nothing. */
  advise(dataset: string, more: Pick<RunSpec, 'read' | 'problem' | 'dropUnlabelled'> = {}): Promise<Advice> {
    return this.#json('/api/advice', { method: 'POST', json: { dataset, ...more }, timeout: 0 })
  }

  /** What a text model scores on a labelled data set: accuracy and F1, or errors for a number. */
  evaluate(model: string, dataset: string, read?: RunSpec['read']): Promise<Evaluation> {
    return this.#json('/api/evaluations', {
      method: 'POST',
      json: { model, dataset, ...(read && { read }) },
      timeout: 0,
    })
  }

  async logs(
    filter: { level?: string; model?: string; code?: string; request?: string; since?: string; limit?: number } = {},
  ): Promise<LogEntry[]> {
    return (await this.#json<{ entries: LogEntry[] }>('/api/logs', { query: filter })).entries
  }

  /** Errors that are alike, newest first. */
  async errors(filter: { model?: string; code?: string; limit?: number } = {}): Promise<ErrorGroup[]> {
    return (await this.#json<{ errors: ErrorGroup[] }>('/api/errors', { query: filter })).errors
  }

  /** Errors that are alike, with the stack of the newest. */
  error(fingerprint: string): Promise<ErrorGroup> {
    return this.#json(`/api/errors/${encodeURIComponent(fingerprint)}`)
  }

  /** Logged requests, newest first. */
  async requests(
    filter: { model?: string; code?: string; door?: string; request?: string; since?: string; limit?: number } = {},
  ): Promise<LoggedRequest[]> {
    return (await this.#json<{ requests: LoggedRequest[] }>('/api/requests', { query: filter })).requests
  }

  /** How the requests of a version compare with its held-out rows. */
  drift(model: string, options: { limit?: number } = {}): Promise<DriftReport> {
    return this.#json(`${pathOf(model)}/drift`, { query: options })
  }

  /** Alerts, newest first. */
  async alerts({ open, limit }: { open?: boolean; limit?: number } = {}): Promise<Alert[]> {
    const query = { ...(open && { open: 'true' }), limit }
    return (await this.#json<{ alerts: Alert[] }>('/api/alerts', { query })).alerts
  }

  /** Keeps an alert from being told of again, for good or for so many minutes. */
  silence(alert: number, minutes?: number): Promise<void> {
    return this.#json(`/api/alerts/${alert}/silence`, { method: 'POST', json: { ...(minutes && { minutes }) } })
  }

  /** Rules that alerts are opened by, beside drift and accuracy. */
  readonly alertRules = {
    list: async (): Promise<AlertRule[]> => (await this.#json<{ rules: AlertRule[] }>('/api/alerts/rules')).rules,
    set: (name: string, rule: string, model?: string): Promise<AlertRule> =>
      this.#json(`/api/alerts/rules/${encodeURIComponent(name)}`, {
        method: 'PUT',
        json: { rule, ...(model && { model }) },
      }),
    delete: (name: string): Promise<void> =>
      this.#json(`/api/alerts/rules/${encodeURIComponent(name)}`, { method: 'DELETE' }),
  }

  /** Tells the right label of a row of an answered request. */
  feedback(
    requestId: string,
    label: string,
    row = 0,
  ): Promise<{ model: string; version: number; predicted: string; right: boolean }> {
    return this.#json('/api/feedback', { method: 'POST', json: { requestId, row, label } })
  }

  /** Makes a data set of the labelled texts of a model; its id can be trained on. */
  feedbackDataset(model: string): Promise<{ id: string; filename: string; rows: number }> {
    return this.#json(`${pathOf(model)}/feedback/dataset`, { method: 'POST' })
  }

  async engines(): Promise<EngineInfo[]> {
    return (await this.#json<{ engines: EngineInfo[] }>('/api/engines')).engines
  }

  /** Requests, errors, latencies and tokens by the minute or the hour. */
  history({ by, ...query }: HistoryQuery = {}): Promise<HistoryReport> {
    return this.#json('/api/history', { query: { ...query, ...(by && { by: by.join(',') }) } })
  }

  /** What the server and the machine have and use. */
  resources(): Promise<Resources> {
    return this.#json('/api/resources')
  }

  status(): Promise<Status> {
    return this.#json('/api/status')
  }

  /** The server's metrics as Prometheus reads them. */
  async metrics(): Promise<string> {
    return (await this.#send('/metrics', {})).text()
  }

  async *#events(
    run: string,
    { signal, after = 0 }: { signal?: AbortSignal; after?: number },
  ): AsyncGenerator<TrainEvent> {
    let last = String(after)
    for (let failures = 0; ; ) {
      try {
        const call = { headers: { 'last-event-id': last }, timeout: 0, ...(signal && { signal }) }
        const { body } = await this.#send(`/api/runs/${encodeURIComponent(run)}/events`, call)
        for await (const { id, data } of parseEvents(body!)) {
          failures = 0
          if (id !== undefined) last = id
          const event = JSON.parse(data) as TrainEvent
          yield event
          if (event.type === 'state' && ended.has(event.state)) return
        }
      } catch (error) {
        if (signal?.aborted) return
        if (error instanceof AthanorError && error.status < 500) throw error
        if (++failures > 5) throw error instanceof AthanorError ? error : unreachable(this.url, error)
      }
      if (signal?.aborted) return
      await pause(Math.min(5000, 200 * 2 ** failures))
    }
  }

  #json<T>(path: string, call: Call = {}): Promise<T> {
    return this.#http.json(path, call)
  }

  #send(path: string, call: Call): Promise<Response> {
    return this.#http.send(path, call)
  }
}

const promptOf = (prompt: string | ChatMessage[]) => (typeof prompt === 'string' ? { prompt } : { messages: prompt })

const hex = (bytes: ArrayBuffer) =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
