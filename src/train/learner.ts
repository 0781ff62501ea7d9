import type { TrainingGraph } from '../autograd/training.ts'
import type { Manifest, Metrics } from '../bundle/manifest.ts'
import type { EncoderFamily } from '../nn/encoder-family.ts'
import type { Family } from '../nn/family.ts'
import type { Batch } from './batch.ts'
import type { Weights } from './checkpoint.ts'
import type { TrainEvent } from './events.ts'
import type { TrainJob } from './job.ts'
import type { Option, Options } from './options.ts'

/** What weights can be measured on: `test` is the held-out split, which nothing is chosen by. */
type Part = 'validation' | 'test'

/** A network and the data it learns from: all that the loop needs to know of a task. */
export interface Learner {
  readonly graph: TrainingGraph
  /** Weights to start from, e.g. published ones; parameters not among them are drawn anew. */
  readonly initial?: Weights
  /** Rows of the training split. */
  readonly rows: number
  /** Row numbers of each batch of an epoch, from seed and epoch alone: a resumed run meets the same batches. */
  batches(epoch: number): readonly Int32Array[]
  assemble(rows: Int32Array, epoch: number): Batch
  /** Metrics of weights on a split, through the graph that will be served, and how many rows it has. */
  evaluate(weights: Weights, part: Part): Promise<{ metrics: Metrics; rows: number }>
  /** The metric by which epochs are compared. */
  readonly chosenBy: { metric: string; better: 'higher' | 'lower' }
  /** A piece of what the model makes of its weights, to be shown after each epoch. */
  sample?(weights: Weights, epoch: number): Promise<string>
  /** Milliseconds that the served model takes for one input of usual size on one thread. */
  latency?(weights: Weights): Promise<number>
  /** What the bundle says of itself, beyond what the loop knows, and its files. */
  bundle(weights: Weights): Promise<{ manifest: LearnerManifest; files: Record<string, Uint8Array | string> }>
}

type LearnerManifest = Omit<Manifest, 'format' | 'formatVersion' | 'metrics' | 'lineage' | 'createdAt'> &
  Pick<Manifest['lineage'], 'dataset'>

/** What a task is opened with: a family by its name; options are resolved, `threads` is how many the process may use. */
export interface TaskContext {
  readonly job: TrainJob
  readonly name: string
  readonly family: Family | EncoderFamily
  readonly options: Options
  readonly seed: number
  readonly threads: number
}

/** A kind of learning: options of its own for preprocessing, and how data becomes a learner. */
export interface Task {
  /** Options of preprocessing beside those of the loop and the family. */
  readonly options: Readonly<Record<string, Option>>
  /** Reads and prepares the data, or opens what an interrupted run prepared; tells of it as it goes. */
  open(context: TaskContext): AsyncGenerator<TrainEvent, Learner>
}
