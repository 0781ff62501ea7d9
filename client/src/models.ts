import type { Exported, ExportOptions, FileCalls, ImportOptions } from './files.ts'
import { type Http, modelPath } from './http.ts'
import { registryCalls } from './registry.ts'
import type { RemoteSpec } from './remote.ts'
import type { Measured, Problem } from './training.ts'
import type { Metrics } from './types.ts'

export interface ModelSummary {
  name: string
  task: string
  family: string
  version: number
  versions: number
  aliases: Record<string, number>
  metrics: Metrics
  bytes: number
  updatedAt: string
  description?: string
  loaded: boolean
}

export interface TensorSpec {
  name: string
  dtype: string
  shape: (number | string)[]
}

export interface Manifest {
  task:
    | 'text-classification'
    | 'token-classification'
    | 'feature-extraction'
    | 'fill-mask'
    | 'text-generation'
    | 'image-classification'
    | 'tensor'
  /** What runs it; onnxruntime if absent. */
  engine?: 'onnx' | 'llama' | 'remote'
  remote?: Omit<RemoteSpec, 'task' | 'key' | 'description'> & { binary?: boolean }
  family: string
  /** Absent for one label. */
  problem?: Problem
  /** Scores from which each of several labels counts as given. */
  thresholds?: number[]
  signature: { inputs: TensorSpec[]; outputs: TensorSpec[] }
  labels: string[]
  parameters: number
  metrics: Metrics
  lineage: {
    dataset?: { digest: string; source: string; rows: number }
    run?: string
    parent?: string
    code: string
    seed?: number
    options?: Record<string, unknown>
    /** What was tried before this was chosen: each trial with its figures. */
    selection?: Record<string, unknown>[]
    refinedFrom?: { model: string; version: number }
    passes?: { name: string; options: Record<string, unknown>; note: string }[]
    measurements?: Measured[]
    forced?: string[]
  }
  data?: Record<string, unknown>
  profile?: Record<string, unknown>
  pipeline?: Record<string, unknown>
  encoder?: Record<string, unknown>
  description?: string
  createdAt: string
}

export interface ModelDetail {
  name: string
  version: number
  aliases: Record<string, number>
  versions: { version: number; family: string; metrics: Metrics; createdAt: string }[]
  manifest: Manifest
  files: { name: string; digest: string; bytes: number }[]
}

export interface Snippet {
  door: string
  language: string
  code: string
}

/** Calls about models and their versions. */
export function modelCalls(http: Http, { upload, fetch }: FileCalls) {
  /** As `importFiles`, for files that were sent before; `tokenizer` is the sha256 of one of them. */
  const importSent = (
    name: string,
    files: readonly { name: string; digest: string }[],
    options: ImportOptions = {},
  ): Promise<ModelDetail> =>
    http.json(`${modelPath(name)}/import`, {
      method: 'POST',
      json: { files, ...options },
      timeout: 0,
    })
  /** As `importSent`, with the tokenizer itself. */
  const importWith = async (
    name: string,
    files: readonly { name: string; digest: string }[],
    { tokenizer, ...options }: ImportOptions,
  ): Promise<ModelDetail> => {
    const json = tokenizer === undefined ? undefined : await upload(new TextEncoder().encode(tokenizer))
    return importSent(name, files, { ...options, ...(json && { tokenizer: json }) })
  }
  return {
    ...registryCalls(http),
    show: (model: string): Promise<ModelDetail> => http.json(modelPath(model)),
    /** Calls to copy: curl, TypeScript and Python for each protocol. */
    snippets: async (model: string): Promise<Snippet[]> =>
      (await http.json<{ snippets: Snippet[] }>(`${modelPath(model)}/snippets`)).snippets,
    /** A module of TypeScript that calls a version with the types of its signature. */
    typedClient: async (model: string): Promise<string> => (await http.send(`${modelPath(model)}/client`, {})).text(),
    delete: (model: string): Promise<void> => http.json(modelPath(model), { method: 'DELETE' }),
    load: (model: string): Promise<{ model: string; version: number; loaded: boolean }> =>
      http.json(`${modelPath(model)}/load`, { method: 'POST' }),
    unload: (model: string): Promise<{ model: string; version: number; loaded: boolean }> =>
      http.json(`${modelPath(model)}/unload`, { method: 'POST' }),
    setAlias: (model: string, alias: string, version: number): Promise<{ aliases: Record<string, number> }> =>
      http.json(`${modelPath(model)}/aliases/${encodeURIComponent(alias)}`, {
        method: 'PUT',
        json: { version },
      }),
    removeAlias: (model: string, alias: string): Promise<void> =>
      http.json(`${modelPath(model)}/aliases/${encodeURIComponent(alias)}`, { method: 'DELETE' }),
    /** Registers ONNX bytes as the next version of a model that takes tensors. */
    import: (name: string, onnx: Uint8Array, { description }: { description?: string } = {}): Promise<ModelDetail> =>
      http.json(`${modelPath(name)}/versions`, {
        method: 'POST',
        query: { description },
        body: onnx as BodyInit,
        headers: { 'content-type': 'application/octet-stream' },
        timeout: 0,
      }),
    /** Registers a model of another server; its key is kept sealed over there and never shown again. */
    addRemote: (name: string, remote: RemoteSpec): Promise<ModelDetail> =>
      http.json(`${modelPath(name)}/remote`, { method: 'POST', json: remote }),
    /**
     * Registers a model of another format from its files. `tokenizer` is the JSON of a Keras Tokenizer, with which the
     * model takes texts.
     */
    importFiles: async (
      name: string,
      files: Readonly<Record<string, Uint8Array<ArrayBuffer>>>,
      options: ImportOptions = {},
    ): Promise<ModelDetail> => {
      const sent: { name: string; digest: string }[] = []
      for (const [file, content] of Object.entries(files)) sent.push({ name: file, digest: await upload(content) })
      return importWith(name, sent, options)
    },
    importSent,
    /** Registers a published model that the server fetches: see `files.fetch`. Options are as for `importFiles`. */
    importFrom: async (
      name: string,
      from: string,
      options: Omit<ImportOptions, 'source'> = {},
    ): Promise<ModelDetail> => {
      const { format } = options
      const { files, source } = await fetch(from, format === undefined ? {} : { format })
      const sent = files.map(({ name: file, digest }) => ({ name: file, digest }))
      return importWith(name, sent, { ...options, source })
    },
    /** Writes a version in another format; `files.download` brings each of its files. */
    export: (model: string, format: string, options: ExportOptions = {}): Promise<Exported> =>
      http.json(`${modelPath(model)}/export`, {
        method: 'POST',
        json: { format, ...options },
        timeout: 0,
        again: true,
      }),
    /** Bytes of a version's file, e.g. `model.onnx`. */
    file: async (model: string, file: string): Promise<Uint8Array> => {
      const response = await http.send(`${modelPath(model)}/files/${encodeURIComponent(file)}`, {
        timeout: 0,
      })
      return new Uint8Array(await response.arrayBuffer())
    },
  }
}
