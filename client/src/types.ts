/** What the server sends and takes; field by field as in its OpenAPI document. */
export type Metrics = Record<string, number>

export interface Ranked {
  label: string
  score: number
}

export interface JsonTensor {
  shape: number[]
  data: unknown[]
}

export interface Prediction<Outputs> {
  model: string
  version: number
  requestId: string
  outputs: Outputs
  /** Milliseconds. */
  timings: { queue: number; pre: number; run: number; post: number; total: number }
}

export interface GenerateOptions {
  maxTokens?: number
  temperature?: number
  topP?: number
  topK?: number
  seed?: number
  stop?: string[]
  repetitionPenalty?: number
  presencePenalty?: number
  frequencyPenalty?: number
  logprobs?: number
}

export interface ChatMessage {
  role: string
  content: string
}

export interface GeneratedToken {
  type: 'token'
  token: number
  /** What can be shown from here on; whole characters only. */
  text: string
  logprob?: number
  bytes?: number[]
  top?: { token: number; text: string; bytes: number[]; logprob: number }[]
}

export interface GenerationEnd {
  type: 'end'
  text: string
  finish: 'stop' | 'length' | 'cancelled'
  usage: { promptTokens: number; completionTokens: number }
  model: string
  version: number
  requestId: string
}

export type GenerationEvent = GeneratedToken | GenerationEnd

export interface Generation {
  model: string
  version: number
  requestId: string
  text: string
  finish: GenerationEnd['finish']
  usage: GenerationEnd['usage']
  tokens?: GeneratedToken[]
  milliseconds: number
}

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
  loaded: boolean
}

export interface TensorSpec {
  name: string
  dtype: string
  shape: (number | string)[]
}

export interface Manifest {
  task: 'text-classification' | 'image-classification' | 'text-generation' | 'tensor'
  family: string
  signature: { inputs: TensorSpec[]; outputs: TensorSpec[] }
  labels: string[]
  parameters: number
  metrics: Metrics
  lineage: {
    dataset?: { digest: string; source: string; rows: number }
    run?: string
    code: string
    seed?: number
    options?: Record<string, unknown>
    refinedFrom?: { model: string; version: number }
    passes?: { name: string; options: Record<string, unknown>; note: string }[]
    measurements?: Measured[]
    forced?: string[]
  }
  data?: Record<string, unknown>
  profile?: Record<string, unknown>
  pipeline?: Record<string, unknown>
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

export interface Dataset {
  id: string
  filename: string
  digest: string
  bytes: number
  createdAt: string
}

export interface RunSpec {
  name?: string
  task?: string
  family?: string
  /** A model to go on from: name@version, or the id of an uploaded ONNX file. */
  from?: string
  /** Id of an uploaded data set, or `npm:<package>@<version>`. */
  dataset: string
  validation?: string
  read?: { text?: string; label?: string; group?: string; encoding?: string; format?: string; labels?: string[] }
  dropUnlabelled?: boolean
  seed?: number
  options?: Record<string, number | string | boolean>
}

/** A line of the gate's table: `change` is in points for accuracy and macroF1, a ratio for the others. */
export interface Measured {
  name: string
  source: number
  refined: number
  change: number
}

export interface RefineSpec {
  /** The version to refine: name, name@version or name@alias. */
  refine: string
  passes?: { name: string; options?: Record<string, number | string | boolean> }[]
  /** Combinations of passes are tried for it, e.g. `size<=0.3,accuracy>=-0.5pt,latency=min`. */
  goal?: string
  tolerance?: string
  force?: boolean
  name?: string
  heldOut?: string
  data?: string
  read?: RunSpec['read']
  seed?: number
  options?: Record<string, number | string | boolean>
}

export type RunState =
  | 'queued'
  | 'preparing'
  | 'training'
  | 'refining'
  | 'measuring'
  | 'evaluating'
  | 'registering'
  | 'done'
  | 'failed'
  | 'cancelled'
  | 'interrupted'

export interface ErrorBody {
  code: string
  status: number
  message: string
  hint: string
  requestId?: string
}

export interface Run {
  run: string
  model: string
  state: RunState
  spec: RunSpec | RefineSpec
  createdAt: string
  updatedAt: string
  metrics?: Metrics
  version?: number
  error?: ErrorBody
}

export type TrainEvent =
  | { type: 'state'; state: RunState }
  | { type: 'progress'; phase: 'reading' | 'cleaning' | 'encoding' | 'teaching'; done: number; total?: number }
  | { type: 'data'; report: Record<string, unknown> }
  | { type: 'model'; family: string; parameters: number; threads: number; options: Record<string, unknown> }
  | {
      type: 'step'
      step: number
      steps: number
      epoch: number
      epochs: number
      loss: number
      learningRate: number
      samplesPerSecond: number
      eta: number
    }
  | { type: 'epoch'; epoch: number; epochs: number; loss: number; validation: Metrics; best: boolean }
  | { type: 'sample'; epoch: number; text: string }
  | { type: 'checkpoint'; step: number }
  | { type: 'pass'; name: string; note: string }
  | {
      type: 'gate'
      what: string
      rows: number
      table: Measured[]
      accepted: boolean
      reasons: string[]
      forced: boolean
      chosen: boolean
      pareto?: boolean
    }
  | { type: 'done'; model: string; version: number; family: string; metrics: Metrics; seconds: number }
  | { type: 'failed'; error: ErrorBody }

export interface Evaluation {
  model: string
  version: number
  metrics: Metrics
  rows: number
  perLabel: { label: string; precision: number; recall: number; f1: number; rows: number }[]
}

export interface LogEntry {
  at: string
  level: string
  event: string
  code?: string
  message?: string
  hint?: string
  model?: string
  version?: number
  requestId?: string
  ms?: number
  detail?: string
}

export interface EngineInfo {
  model: string
  version: number
  pid?: number
  state: string
  loadedAt: string
  requests: number
  waiting: number
  rss?: number
  cpuSeconds?: number
  batches?: number
}

/** How far a feature of requests is from the held-out rows, and the level from which on that is not normal. */
export interface Distance {
  distance: number
  level: number
  stability: number
  largest?: number
}

export interface DriftReport {
  model: string
  version: number
  /** False where a version has nothing to compare with. */
  watched: boolean
  reference?: { rows: number; accuracy: number }
  drifted: { feature: string; meaning: string }[]
  estimatedAccuracy?: number
  labelled: { rows: number; accuracy?: number }
  windows: {
    at: string
    rows: number
    distances: Record<string, Distance>
    drifted: string[]
    estimatedAccuracy: number
  }[]
}

export interface Alert {
  id: number
  rule: string
  model: string
  version: number
  message: string
  value: number
  level: number
  since: string
  until?: string
  silenced: boolean
}

export interface Status {
  version: string
  url: string
  pid: number
  uptimeSeconds: number
  models: { registered: number; loaded: number }
  runs: { active: number }
}

/** A format that models are read from or written to. */
export interface FormatInfo {
  name: string
  title: string
  files: string
  reads: boolean
  writes: boolean
  out: string
  in: string
}

/** A file on its way: how much of it the server has. */
export interface Transfer {
  digest: string
  bytes: number
  offset: number
}

export interface ImportOptions {
  format?: string
  /** The JSON of a Keras Tokenizer: the model then takes texts. */
  tokenizer?: string
  labels?: string[]
  /** Ids in a row, where the model itself does not say. */
  length?: number
  padding?: 'pre' | 'post'
  truncating?: 'pre' | 'post'
  description?: string
}

export interface ExportOptions {
  opset?: number
  externalData?: boolean
  keepOperators?: boolean
}

export interface Exported {
  model: string
  version: number
  format: string
  files: { name: string; digest: string; bytes: number }[]
}
