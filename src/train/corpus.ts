import { random, shuffle } from '../base/random.ts'
import type { PreparedCorpus, TokenPart } from '../data/corpus/prepare.ts'
import type { Batch } from './batch.ts'
import { epochBatches } from './batches.ts'

/** Stretches of a corpus as rows of ids and the tokens that should follow them. */
export interface Stretches {
  readonly rows: number
  /** Row numbers of each batch of an epoch, from seed and epoch alone. */
  batches(batchSize: number, seed: number, epoch: number): Int32Array[]
  /** At most context + 1 tokens of a row: all but the last are read, all but the first predicted. */
  tokens(row: number, shift: number): Int32Array
}

/** Running text cut into windows of one length; in training they begin elsewhere in each epoch (`shift` < context). */
function windows({ run }: TokenPart, context: number): Stretches {
  const whole = Math.floor((run.length - 1) / context)
  // a shift takes up to one window at the end
  const rows = Math.max(1, whole - 1)
  return {
    rows,
    batches(batchSize, seed, epoch) {
      const next = random((Math.imul(seed, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b)) >>> 0)
      const order = shuffle(
        Array.from({ length: rows }, (_, i) => i),
        next,
      )
      return Array.from({ length: Math.ceil(rows / batchSize) }, (_, i) =>
        Int32Array.from(order.slice(i * batchSize, (i + 1) * batchSize)),
      )
    },
    tokens: (row, shift) => run.read(row * context + (whole > 1 ? shift : 0), context + 1),
  }
}

/** Conversations, each cut to the context; those of which no answer is left are passed over. */
function conversations({ rows: all }: TokenPart, context: number): Stretches {
  const kept: number[] = []
  for (let row = 0; row < all.rows; row++)
    if (
      all
        .ids(row)
        .subarray(1, context + 1)
        .some((id) => id >= 0)
    )
      kept.push(row)
  const lengths = { rows: kept.length, length: (row: number) => Math.min(context, all.length(kept[row])) }
  return {
    rows: kept.length,
    batches: (batchSize, seed, epoch) => epochBatches(lengths, batchSize, seed, epoch),
    tokens: (row) => all.ids(kept[row]).subarray(0, context + 1),
  }
}

export const stretchesOf = ({ kind }: Pick<PreparedCorpus, 'kind'>, part: TokenPart, context: number): Stretches =>
  kind === 'chat' ? conversations(part, context) : windows(part, context)

/** Rows as a batch of ids and targets int64 (batch, time); a target of -1 is not learnt. Each row counts by its targets. */
export function assembleTokens(rows: readonly Int32Array[], context: number): Batch {
  const longest = rows.reduce((most, { length }) => Math.max(most, length - 1), 1)
  const time = Math.min(context, Math.ceil(longest / 8) * 8)
  const ids = new BigInt64Array(rows.length * time)
  const targets = new BigInt64Array(rows.length * time).fill(-1n)
  const weights = rows.map((tokens, r) => {
    let counted = 0
    for (let t = 0; t + 1 < tokens.length; t++) {
      const [token, next] = [tokens[t], tokens[t + 1]]
      ids[r * time + t] = BigInt(token < 0 ? -1 - token : token)
      if (next < 0) continue
      targets[r * time + t] = BigInt(next)
      counted++
    }
    return counted
  })
  const tensor = (data: BigInt64Array) => ({ type: 'int64', dims: [rows.length, time], data }) as const
  return { tensors: { ids: tensor(ids), targets: tensor(targets) }, rows: rows.length, sizes: { time }, weights }
}
