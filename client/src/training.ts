import type { Metrics } from './types.ts'

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

export interface Evaluation {
  model: string
  version: number
  metrics: Metrics
  rows: number
  /** Of classifiers with labels. */
  perLabel: { label: string; precision: number; recall: number; f1: number; rows: number }[]
}
