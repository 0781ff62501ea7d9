import { type Problem, problems } from '../base/problem.ts'
import { type Static, Type } from '../base/schema.ts'
import { Metrics } from '../bundle/manifest.ts'
import type { SplitBy } from '../data/split.ts'
import type { Reference } from '../drift/reference.ts'
import type { Advice } from './advice.ts'
import type { Options } from './options.ts'

/** One of the trainings among which a model is chosen. */
export interface TrialReport {
  trial: number
  family: string
  options: Options
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

/** Column names and form of a data set, where they cannot be guessed. */
export const ReadColumns = Type.Object({
  text: Type.Optional(Type.String()),
  label: Type.Optional(Type.String()),
  group: Type.Optional(Type.String()),
  time: Type.Optional(Type.String()),
  /** What stands between several labels in the label column. */
  separator: Type.Optional(Type.String({ minLength: 1, maxLength: 8 })),
  /** Columns of yes and no, each a label of its own. */
  labelColumns: Type.Optional(Type.Array(Type.String(), { minItems: 1, maxItems: 10_000 })),
  encoding: Type.Optional(Type.String()),
  format: Type.Optional(Type.String()),
  /** Keep only rows of these labels. */
  labels: Type.Optional(Type.Array(Type.String())),
})

/** What a training run is asked to do. Anything left out is chosen by the family's defaults and the data. */
export const RunSpec = Type.Object(
  {
    /** Name of the model that the result is registered under; made from the data set's name if absent. */
    name: Type.Optional(Type.String()),
    /** What is learnt: `text-classification`, `text-generation`, …; that of the family if absent. */
    task: Type.Optional(Type.String()),
    family: Type.Optional(Type.String()),
    /** A model to go on from: name, name@version or name@alias, or the id of an uploaded ONNX file (`ds_…`). */
    from: Type.Optional(Type.String({ minLength: 1, maxLength: 300 })),
    /** Id of an uploaded data set (`ds_…`), or `npm:<package>@<version>[#path]`. */
    dataset: Type.String(),
    validation: Type.Optional(Type.String()),
    read: Type.Optional(ReadColumns),
    dropUnlabelled: Type.Optional(Type.Boolean()),
    /** Keep training rows that also occur in the validation file, to compare with figures published so. */
    keepLeakage: Type.Optional(Type.Boolean()),
    /** Several labels if rows have them; `regression` for a number. */
    problem: Type.Optional(Type.Unsafe<Problem>({ type: 'string', enum: [...problems] })),
    /** What decides which rows are held out; by groups where rows have them, otherwise by label. */
    split: Type.Optional(Type.Unsafe<SplitBy>({ type: 'string', enum: ['label', 'group', 'time'] })),
    seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2147483647 })),
    /** Hyperparameters by name (see `GET /api/families`), e.g. epochs, batchSize, learningRate, hidden, maxLength. */
    options: Type.Optional(Type.Record(Type.String(), Type.Union([Type.Number(), Type.String(), Type.Boolean()]))),
    /** `auto` tries several families within the budget; that is so too where neither family nor options are given. */
    model: Type.Optional(Type.Literal('auto')),
    /** Seconds that choosing a model or searching may take. */
    budget: Type.Optional(Type.Integer({ minimum: 5, maximum: 604_800 })),
    /** Tries options of the family. */
    search: Type.Optional(
      Type.Object(
        {
          trials: Type.Integer({ minimum: 1, maximum: 1000 }),
          method: Type.Optional(Type.Unsafe<'tpe' | 'random'>({ type: 'string', enum: ['tpe', 'random'] })),
        },
        { additionalProperties: false },
      ),
    ),
    /** Trains this often, each time with another part held out, and reports mean and deviation. */
    folds: Type.Optional(Type.Integer({ minimum: 2, maximum: 20 })),
  },
  { additionalProperties: false },
)
export type RunSpec = Static<typeof RunSpec>

/** What a refinement is asked to do: passes in order, or a goal that combinations of passes are tried for. */
export const RefineSpec = Type.Object(
  {
    /** The version to refine: name, name@version or name@alias. */
    refine: Type.String(),
    passes: Type.Optional(
      Type.Array(
        Type.Object(
          {
            name: Type.String(),
            options: Type.Optional(
              Type.Record(Type.String(), Type.Union([Type.Number(), Type.String(), Type.Boolean()])),
            ),
          },
          { additionalProperties: false },
        ),
        { minItems: 1, maxItems: 16 },
      ),
    ),
    /** E.g. `size<=0.3,accuracy>=-0.5pt,latency=min`. */
    goal: Type.Optional(Type.String({ maxLength: 500 })),
    /** Bounds that the result is held to, written as a goal's; what it does not name keeps its default. */
    tolerance: Type.Optional(Type.String({ maxLength: 500 })),
    /** Register the result whatever was measured; its lineage says so. */
    force: Type.Optional(Type.Boolean()),
    /** Name of the model that the result is registered under; the source's own if absent. */
    name: Type.Optional(Type.String()),
    /** Labelled rows to measure with, where the version keeps none: an uploaded data set or `npm:…`. */
    heldOut: Type.Optional(Type.String()),
    /** Training data for passes that learn; found by the version's lineage if absent. */
    data: Type.Optional(Type.String()),
    read: Type.Optional(ReadColumns),
    seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2147483647 })),
    /** Hyperparameters for passes that train, e.g. epochs, learningRate. */
    options: Type.Optional(Type.Record(Type.String(), Type.Union([Type.Number(), Type.String(), Type.Boolean()]))),
  },
  { additionalProperties: false },
)
export type RefineSpec = Static<typeof RefineSpec>

export const runStates = [
  'queued',
  'preparing',
  'training',
  'refining',
  'measuring',
  'evaluating',
  'registering',
  'done',
  'failed',
  'cancelled',
  'interrupted',
] as const
export const RunState = Type.Unsafe<(typeof runStates)[number]>({ type: 'string', enum: [...runStates] })
export type RunState = Static<typeof RunState>

/**
 * A refined version against its source: `change` is in points for accuracy, macroF1 and agreement, a ratio for the others.
 * `what` names the refinement; `chosen` is false for combinations that a search only tries.
 */
export interface GateEvent {
  type: 'gate'
  what: string
  rows: number
  table: { name: string; source: number; refined: number; change: number }[]
  accepted: boolean
  /** Measures whose bounds are missed. */
  missed: string[]
  reasons: string[]
  forced: boolean
  chosen: boolean
  /** Of a search: no other combination within the bounds is better in one measure and as good in all others. */
  pareto?: boolean
}

/** What a run tells while it goes on; the CLI, the event stream and the SDK consume the same type. */
export type TrainEvent =
  | { type: 'state'; state: RunState }
  /** Reading and encoding: rows so far; measuring: hundredths, of a `total` of 100. `total` where it is known. */
  | {
      type: 'progress'
      phase: 'reading' | 'cleaning' | 'encoding' | 'teaching' | 'measuring'
      done: number
      total?: number
    }
  | { type: 'data'; report: Record<string, unknown> }
  | { type: 'model'; family: string; parameters: number; threads: number; options: Record<string, unknown> }
  /** Loss is the mean since the last step event; `eta` in seconds to the end of training. */
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
  /** What the model writes so far, for tasks that write. */
  | { type: 'sample'; epoch: number; text: string }
  | { type: 'checkpoint'; step: number }
  /** What is seen in the data and will be tried. */
  | { type: 'advice'; advice: Advice }
  /** What a version scored on data that it was asked about. */
  | { type: 'measured'; metrics: Metrics; rows: number; reference?: Reference }
  /** A trial begins, is put aside, dropped or done. */
  | { type: 'trial'; trial: TrialReport }
  /** All trials, one of them chosen by the metric. */
  | { type: 'selection'; metric: string; trials: TrialReport[] }
  /** A search begins with one of several combinations of passes. */
  | { type: 'trying'; what: string; number: number; of: number }
  /** A pass of a refinement is done; `note` says in words what it did. */
  | { type: 'pass'; name: string; note: string }
  | GateEvent
  | { type: 'done'; model: string; version: number; family: string; metrics: Metrics; seconds: number }
  | { type: 'failed'; error: { code: string; status: number; message: string; hint: string } }

/** A training run as the API shows it. */
export const Run = Type.Object({
  run: Type.String(),
  model: Type.String(),
  state: RunState,
  spec: Type.Union([RunSpec, RefineSpec]),
  createdAt: Type.String(),
  updatedAt: Type.String(),
  metrics: Type.Optional(Metrics),
  version: Type.Optional(Type.Integer()),
  error: Type.Optional(
    Type.Object({ code: Type.String(), status: Type.Integer(), message: Type.String(), hint: Type.String() }),
  ),
})
export type Run = Static<typeof Run>
