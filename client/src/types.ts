import type { RemoteSpec } from './remote.ts'

export type * from './watching.ts'

/** What the server sends and takes; field by field as in its OpenAPI document. */
export type Metrics = Record<string, number>

/** A label and its score; of a model of numbers, the name of the number and the number. */
export interface Ranked {
  label: string
  score: number
  /** Where a text may have several labels: whether this one's score reaches its threshold. */
  chosen?: boolean
}

/** A word at the place of a mask. */
export interface Fill {
  token: string
  score: number
}

/** A stretch of a text that was labelled; `start` and `end` count UTF-16 units, as JavaScript's strings do. */
export interface Entity {
  label: string
  score: number
  start: number
  end: number
  text: string
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
  finish: 'stop' | 'length' | 'calls' | 'cancelled'
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

export interface Dataset {
  id: string
  filename: string
  digest: string
  bytes: number
  createdAt: string
}

/** What is learnt of an input: one label, any number of labels, or a number. */
export type Problem = 'classification' | 'multi-label' | 'regression'

/** Column names and form of a data set, where they cannot be guessed. */
export interface ReadColumns {
  text?: string
  label?: string
  group?: string
  time?: string
  /** What stands between several labels in the label column. */
  separator?: string
  /** Columns of yes and no, each a label of its own. */
  labelColumns?: string[]
  encoding?: string
  format?: string
  /** Keep only rows of these labels. */
  labels?: string[]
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
  read?: ReadColumns
  dropUnlabelled?: boolean
  /** Keep training rows that also occur in the validation file, to compare with figures published so. */
  keepLeakage?: boolean
  /** Several labels if rows have them; `regression` for a number. */
  problem?: Problem
  /** What decides which rows are held out; by groups where rows have them, otherwise by label. */
  split?: 'label' | 'group' | 'time'
  seed?: number
  options?: Record<string, number | string | boolean>
  /** `auto` tries several families within the budget; that is so too where neither family nor options are given. */
  model?: 'auto'
  /** Seconds that choosing a model or searching may take. */
  budget?: number
  /** Tries options of the family. */
  search?: { trials: number; method?: 'tpe' | 'random' }
  /** Trains this often, each time with another part held out, and reports mean and deviation. */
  folds?: number
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

/** One of the trainings among which a model is chosen. */
export interface TrialReport {
  trial: number
  family: string
  options: Record<string, number | string | boolean | null>
  state: 'waiting' | 'running' | 'paused' | 'dropped' | 'done' | 'chosen'
  /** Epochs trained, and the best figures on the validation split. */
  epochs: number
  metrics?: Metrics
  parameters?: number
  /** Milliseconds for one text. */
  latency?: number
  minutes: number
  /** Why it was proposed, or dropped. */
  reason?: string
}

/** A family with options to try, why, and how long it may take. */
export interface Candidate {
  family: string
  options: Record<string, number | string | boolean>
  reasons: string[]
  /** Estimated seconds of training on the server's machine. */
  seconds: number
}

/** What is seen in the data, and what to try, best first. */
export interface Advice {
  task: string
  problem: Problem
  rows: { read: number; kept: number }
  labels: Record<string, number>
  imbalance: number
  characters: Record<string, number>
  scripts: Record<string, number>
  removed: Record<string, number>
  notes: string[]
  candidates: Candidate[]
}

export type TrainEvent =
  | { type: 'state'; state: RunState }
  | {
      type: 'progress'
      phase: 'reading' | 'cleaning' | 'encoding' | 'teaching' | 'measuring'
      done: number
      total?: number
    }
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
      /** Where rows are made of tokens: those trained on a second, padding left out. */
      tokensPerSecond?: number
      /** Resident bytes of the training process. */
      memory: number
      eta: number
    }
  | { type: 'epoch'; epoch: number; epochs: number; loss: number; validation: Metrics; best: boolean }
  | { type: 'sample'; epoch: number; text: string }
  | { type: 'checkpoint'; step: number }
  | { type: 'advice'; advice: Advice }
  | { type: 'measured'; metrics: Metrics; rows: number }
  | { type: 'trial'; trial: TrialReport }
  | { type: 'selection'; metric: string; trials: TrialReport[] }
  | { type: 'trying'; what: string; number: number; of: number }
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
  /** Of classifiers with labels. */
  perLabel: { label: string; precision: number; recall: number; f1: number; rows: number }[]
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
  /** `tensor` for a model that looks as if it read texts or saw images; what a folder for transformers.js is for. */
  task?: string
  /** The JSON of a Keras Tokenizer, or Hugging Face's tokenizer.json: the model then takes texts. */
  tokenizer?: string
  labels?: string[]
  /** Ids in a row, where the model itself does not say. */
  length?: number
  padding?: 'pre' | 'post'
  truncating?: 'pre' | 'post'
  /** What pixels were in training: 0 to 255, 0 to 1, -1 to 1, or by ImageNet's mean and deviation. */
  pixels?: 'bytes' | 'unit' | 'signed' | 'imagenet'
  /** How an image of another shape is brought to size: its middle (unless told otherwise), all of it, or stretched. */
  fit?: 'cover' | 'contain' | 'fill'
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
