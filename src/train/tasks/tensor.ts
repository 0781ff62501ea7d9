import { buildImported, exportImported, type Imported } from '../../autograd/imported.ts'
import { trainingGraph } from '../../autograd/training.ts'
import { fail } from '../../base/errors.ts'
import ort from '../../base/onnxruntime.ts'
import type { Metrics } from '../../bundle/manifest.ts'
import { splitRows } from '../../data/split.ts'
import { readTensors, type TensorColumn, type TensorRows } from '../../data/tensors.ts'
import { writeModel } from '../../graph/codec.ts'
import type { Shape } from '../../graph/shape.ts'
import { signatureOf } from '../../graph/signature.ts'
import { type LossName, losses } from '../../nn/losses.ts'
import type { Batch } from '../batch.ts'
import { epochBatches } from '../batches.ts'
import type { TrainEvent } from '../events.ts'
import { countStored, initialWeights, openGraph } from '../graph.ts'
import type { DataSource } from '../job.ts'
import type { Learner, Task, TaskContext } from '../learner.ts'
import { type HeldOut, tensorReference } from '../measured.ts'
import { Confusion } from '../metrics.ts'
import { openMeasured } from '../opened.ts'

/** What an ONNX graph of tensors should answer, row by row: classes or numbers, by a loss of choice. */
export const tensorLearning: Task = { options: {}, open }

/** The name of the target in the training graph: no model's input is called so. */
const TARGET = 'athanor:target'

/** Rows of inputs with what the graph should answer: a class, or numbers. */
interface Rows {
  inputs: TensorRows
  classes: number[]
  numbers: TensorRows | undefined
  of: readonly number[]
}

async function* open(context: TaskContext): AsyncGenerator<TrainEvent, Learner> {
  const { job, name, options, seed, threads } = context
  const lossName = options.loss as LossName
  const { target } = losses[lossName]
  const imported = await openGraph(job, options, target === 'class')
  let output: Shape = []
  const make = (dims: Record<string, readonly number[]>) =>
    trainingGraph((network) => {
      const inputs = Object.fromEntries(
        imported.inputs.map(({ name, dtype }) => [name, network.graph.input(name, dtype, ['batch', ...dims[name]])]),
      )
      const answer = buildImported(network, imported, inputs)
      output = answer.shape
      checkOutput(output, target === 'class')
      const wanted = network.graph.input(
        TARGET,
        target === 'class' ? 'int64' : 'float32',
        target === 'class' ? ['batch'] : output,
      )
      return losses[lossName].build(answer, wanted)
    })
  const column = job.spec.read?.label ?? 'label'
  const read = async (source: DataSource) => {
    const file = { path: source.path, source: source.name }
    const wanted = imported.inputs.map(({ name, shape }): TensorColumn => {
      return { name, dims: shape.slice(1).map((dim) => (typeof dim === 'number' ? dim : -1)) }
    })
    return readTensors(
      file,
      target === 'class' ? wanted : [...wanted, { name: column, dims: [-1] }],
      target === 'class' ? column : undefined,
    )
  }
  yield { type: 'progress', phase: 'reading', done: 0 }
  const all = await read(job.dataset)
  const graph = make(all.dims)
  const held = job.validation && (await read(job.validation))
  const width = output.slice(1).reduce<number>((a, b) => a * Number(b), 1)
  const labels =
    target === 'class' ? labelsOf(all, Number(output[1]), job.dataset.name, job.from?.manifest?.labels) : []
  const rowsOf = (data: TensorRows, of: readonly number[]): Rows => {
    if (target === 'numbers' && data.dims[column][0] !== width) {
      const reason = `"${column}" has ${data.dims[column][0]} numbers, the model's output ${width}`
      throw fail('DATA_MALFORMED', { source: job.dataset.name, line: 1, reason })
    }
    const classes = data.labels.map((label) => {
      const found = labels.indexOf(label)
      if (found < 0)
        throw fail('LABEL_UNKNOWN', { source: 'the validation file', label, labels: labels.join(', ').slice(0, 300) })
      return found
    })
    return { inputs: data, classes, numbers: target === 'numbers' ? data : undefined, of }
  }
  const parts = splitRows(
    Array.from({ length: all.rows }, (_, i) => ({ label: target === 'class' ? labels.indexOf(all.labels[i]) : 0 })),
    { validation: held ? 0 : 0.1, test: held ? 0 : 0.1, seed },
  )
  const part = (wanted: string) => [...parts.keys()].filter((i) => parts[i] === wanted)
  const train = rowsOf(all, part('train'))
  const validation = held ? rowsOf(held, [...Array(held.rows).keys()]) : rowsOf(all, part('validation'))
  const test = held ? validation : rowsOf(all, part('test'))
  if (validation.of.length === 0 || test.of.length === 0)
    throw fail('SPLIT_IMPOSSIBLE', { reason: `${all.rows} rows are too few to hold some out` })
  const batch = (rows: Rows, at: Int32Array) => assemble(imported, rows, at, column, output)
  const classifier = target === 'class'
  return {
    graph,
    initial: initialWeights(imported),
    rows: train.of.length,
    batches: (epoch) =>
      epochBatches({ rows: train.of.length, length: () => 0 }, Number(options.batchSize), seed, epoch),
    assemble: (rows) => batch(train, rows),
    async evaluate(weights, part) {
      const rows = part === 'test' ? test : validation
      const model = writeModel(exportImported(imported, weights, classifier))
      const metrics = await evaluateModel(model, imported, rows, (at) => batch(rows, at), lossName, labels, threads)
      return { metrics, rows: rows.of.length }
    },
    chosenBy: classifier ? { metric: 'accuracy', better: 'higher' } : { metric: 'loss', better: 'lower' },
    async bundle(weights) {
      const model = exportImported(imported, weights, false)
      const signature = signatureOf(model)
      const reference = await tensorReference(
        writeModel(model),
        { signature, labels },
        partsOf(test, (at) => batch(test, at), classifier ? labels : []),
        threads,
      )
      return {
        manifest: {
          task: 'tensor',
          family: name,
          signature,
          labels,
          ...(reference && { reference }),
          parameters: countStored(model),
        },
        files: { 'model.onnx': writeModel(model) },
      }
    },
  }
}

function checkOutput(shape: Shape, classes: boolean) {
  const fixed = shape.slice(1).every((dim) => typeof dim === 'number')
  if (shape[0] === 'batch' && fixed && (!classes || shape.length === 2)) return
  throw fail('UNSUPPORTED', {
    what: `the output [${shape.map((dim) => (String(dim).startsWith('?') ? '?' : dim)).join(', ')}] as an answer for each row`,
    instead: classes
      ? 'Cross-entropy needs an output [batch, classes]; name another with --output.'
      : 'Its first axis must be the rows, its others of known sizes; name another with --output.',
  })
}

/** Classes in the order of the model's answers: those it was registered with, whole numbers as they are, others sorted. */
function labelsOf(
  { labels }: TensorRows,
  classes: number,
  source: string,
  known: readonly string[] | undefined,
): string[] {
  if (known?.length === classes) return [...known]
  const found = [...new Set(labels)].sort((a, b) => Number(a) - Number(b) || (a < b ? -1 : 1))
  const numbered = found.every((label) => /^\d+$/.test(label) && Number(label) < classes)
  if (numbered) return Array.from({ length: classes }, (_, i) => String(i))
  if (found.length === 1) throw fail('ONE_CLASS', { label: found[0] })
  if (found.length <= classes)
    return [...found, ...Array.from({ length: classes - found.length }, (_, i) => `class ${found.length + i}`)]
  const reason = `${source} has ${found.length} classes, the model tells ${classes}; pass --head ${found.length} for a new last layer`
  throw fail('OPTION_INVALID', { option: 'head', reason })
}

function assemble(
  { inputs }: Imported,
  { inputs: data, classes, numbers, of }: Rows,
  at: Int32Array,
  column: string,
  output: Shape,
): Batch {
  const take = (source: TensorRows, name: string) => {
    const size = source.dims[name].reduce((a, b) => a * b, 1)
    const taken = new Float64Array(at.length * size)
    at.forEach((row, i) => {
      taken.set(source.columns[name].subarray(of[row] * size, (of[row] + 1) * size), i * size)
    })
    return taken
  }
  const tensors: Record<string, Batch['tensors'][string]> = {}
  for (const { name, dtype } of inputs) {
    const values = take(data, name)
    const dims = [at.length, ...data.dims[name]]
    if (dtype === 'int64')
      tensors[name] = {
        type: 'int64',
        dims,
        data: BigInt64Array.from(Array.from(values, (v) => BigInt(Math.trunc(v)))),
      }
    else if (dtype === 'float32') tensors[name] = { type: 'float32', dims, data: Float32Array.from(values) }
    else
      throw fail('UNSUPPORTED', {
        what: `training with an input of type ${dtype}`,
        instead: 'Inputs may be float32 and int64.',
      })
  }
  tensors[TARGET] = numbers
    ? {
        type: 'float32',
        dims: [at.length, ...output.slice(1).map(Number)],
        data: Float32Array.from(take(numbers, column)),
      }
    : { type: 'int64', dims: [at.length], data: BigInt64Array.from(at, (row) => BigInt(classes[of[row]])) }
  return { tensors, rows: at.length, sizes: {} }
}

const AT_ONCE = 32

/** The inputs of held-out rows, some at a time, with the place of their labels. */
function* partsOf(rows: Rows, batch: (at: Int32Array) => Batch, labels: readonly string[]): Generator<HeldOut> {
  for (let start = 0; start < rows.of.length; start += AT_ONCE) {
    const at = Int32Array.from({ length: Math.min(AT_ONCE, rows.of.length - start) }, (_, i) => start + i)
    const { [TARGET]: _target, ...tensors } = batch(at).tensors
    yield { tensors, ...(labels.length > 0 && { classes: Array.from(at, (row) => rows.classes[rows.of[row]]) }) }
  }
}

/** Loss and, for classes, accuracy and macro-F1 of the model that will be served. */
async function evaluateModel(
  model: Uint8Array,
  { inputs, output }: Imported,
  rows: Rows,
  batch: (at: Int32Array) => Batch,
  loss: LossName,
  labels: readonly string[],
  threads: number,
): Promise<Metrics> {
  const session = await openMeasured(model, threads)
  try {
    const confusion = new Confusion(labels)
    let sum = 0
    let count = 0
    for (let start = 0; start < rows.of.length; start += AT_ONCE) {
      const at = Int32Array.from({ length: Math.min(AT_ONCE, rows.of.length - start) }, (_, i) => start + i)
      const { tensors } = batch(at)
      const feeds = Object.fromEntries(
        inputs.map(({ name }) => {
          const { type, data, dims } = tensors[name]
          return [name, new ort.Tensor(type as 'float32', data as Float32Array, dims)]
        }),
      )
      const results = await session.run(feeds)
      const values = results[output].data as Float32Array
      const wanted = tensors[TARGET].data
      if (losses[loss].target === 'class') {
        const classes = labels.length
        at.forEach((_, r) => {
          const scores = values.subarray(r * classes, (r + 1) * classes)
          const top = Math.max(...scores)
          const all = scores.reduce((total, score) => total + Math.exp(score - top), 0)
          confusion.add(Number(wanted[r]), scores.indexOf(top))
          sum += Math.log(all) + top - scores[Number(wanted[r])]
        })
        count += at.length
      } else {
        for (let i = 0; i < values.length; i++)
          sum += pointLoss[loss as keyof typeof pointLoss](values[i], Number(wanted[i]))
        count += values.length
      }
    }
    return { ...(labels.length > 0 && confusion.metrics()), loss: sum / count }
  } finally {
    await session.release()
  }
}

/** The losses over numbers again, of one number. */
const pointLoss = {
  mse: (value: number, target: number) => (value - target) ** 2,
  mae: (value: number, target: number) => Math.abs(value - target),
  'binary-cross-entropy': (value: number, target: number) =>
    Math.max(value, 0) - value * target + Math.log1p(Math.exp(-Math.abs(value))),
}
