/** Values that a step feeds to the graph; their first axis is the rows of the batch. */
export interface BatchTensor {
  readonly type: 'int64' | 'float32'
  readonly dims: readonly number[]
  readonly data: BigInt64Array | Float32Array
}

/** What one step learns from. */
export interface Batch {
  readonly tensors: Readonly<Record<string, BatchTensor>>
  readonly rows: number
  /** Sizes of the graph's symbolic axes but `batch`, e.g. `time`. */
  readonly sizes: Readonly<Record<string, number>>
  /** What each row counts in the mean that is the loss, e.g. the tokens it predicts; 1 each if absent. */
  readonly weights?: ArrayLike<number>
  /** Tokens in the rows, padding left out, where rows are made of tokens. */
  readonly tokens?: number
}

/** The rows of a batch that one way takes. */
export interface Part {
  readonly tensors: Readonly<Record<string, BatchTensor>>
  readonly rows: number
  readonly firstRow: number
  readonly batchRows: number
  /** What these rows count of the batch's loss. */
  readonly share: number
  /** Sizes of all symbolic axes, `batch` being these rows. */
  readonly sizes: Readonly<Record<string, number>>
}

/** The rows of a way, one of `ways`, in each of a step's batches; undefined where there are fewer rows than ways. */
export function partsOf(batches: readonly Batch[], way: number, ways: number): (Part | undefined)[] {
  const all = batches.reduce((sum, batch) => sum + counted(batch, 0, batch.rows), 0)
  return batches.map((batch) => partOf(batch, way, ways, all))
}

/** What rows from one number to another count. */
function counted({ weights }: Batch, from: number, to: number): number {
  if (!weights) return to - from
  let sum = 0
  for (let row = from; row < to; row++) sum += weights[row]
  return sum
}

function partOf(batch: Batch, way: number, ways: number, all: number): Part | undefined {
  const { tensors, rows, sizes } = batch
  const [start, end] = [way, way + 1].map((bound) => Math.floor((rows * bound) / ways))
  if (start === end) return undefined
  return {
    tensors: Object.fromEntries(
      Object.entries(tensors).map(([name, { type, dims, data }]) => {
        const each = data.length / rows
        // a copy: posting a view to another thread would copy all of what it looks at
        return [name, { type, dims: [end - start, ...dims.slice(1)], data: data.slice(start * each, end * each) }]
      }),
    ),
    rows: end - start,
    firstRow: start,
    batchRows: rows,
    share: counted(batch, start, end) / all,
    sizes: { ...sizes, batch: end - start },
  }
}
