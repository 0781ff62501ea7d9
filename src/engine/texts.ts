import { fail } from '../base/errors.ts'
import ort from '../base/onnxruntime.ts'
import type { Lanes } from './lanes/lanes.ts'
import { type EngineAnswer, type EngineOutput, type EngineRequest, monotonic } from './messages.ts'
import type { Runner } from './runner.ts'
import { failure } from './session.ts'

/** How texts become answers: `Row` is a text made ready for the graph, `Result` what the graph says of it. */
export interface TextTask<Row extends { readonly ids: ArrayLike<number> }, Result> {
  /** With the second text of each that has one. */
  encode(texts: readonly string[], pairs: readonly (string | undefined)[]): Promise<Row[]>
  /** A text that came as token ids; throws BAD_REQUEST. */
  fromIds?(ids: readonly number[]): Row
  /** Runs rows as one batch, the longest last; a result for each. `alone`: no other batch is to be run meanwhile. */
  infer(batch: readonly Row[], alone: boolean): Promise<Result[]>
  /** Told of every row that a caller sent, with its result. */
  observe?(row: Row, result: Result): void
  /** The answer to a request from the results of its texts. */
  answer(results: readonly Result[], request: TextRequest): EngineOutput
}
type TextRequest = Extract<EngineRequest, { kind: 'texts' }>

/** Most texts in one batch. */
const ROW_LIMIT = 128

interface Placed<Row> {
  request: number
  index: number
  row: Row
}

/** Runs the texts of all requests of a round in batches of like lengths, each within a budget of padded tokens. */
export function textRunner<Row extends { readonly ids: ArrayLike<number> }, Result>(
  task: TextTask<Row, Result>,
  tokenBudget: number,
  lanes?: Lanes,
): Runner {
  let batches = 0
  function fromIds(ids: readonly number[]): Row {
    if (!task.fromIds) throw fail('BAD_REQUEST', { message: 'this model takes texts, not token ids' })
    return task.fromIds(ids)
  }
  async function* run(all: EngineRequest[], alone = true): AsyncGenerator<EngineAnswer> {
    const started = monotonic()
    const requests = all.filter((request) => request.kind === 'texts')
    const given = requests.filter(({ ids }) => !ids)
    const pairs = given.flatMap(({ texts, pairs }): (string | undefined)[] => texts.map((_, i) => pairs?.[i]))
    const encoded = await task.encode(
      given.flatMap(({ texts }) => texts),
      pairs,
    )
    const ready = monotonic()
    let at = 0
    const rows: Placed<Row>[] = []
    const open = requests.map(({ texts }) => ({
      results: new Array<Result>(texts.length),
      left: texts.length,
      batch: 0,
      tokens: 0,
    }))
    for (const [request, { id, texts, ids }] of requests.entries()) {
      try {
        const given = ids?.map(fromIds)
        for (const index of texts.keys()) rows.push({ request, index, row: given ? given[index] : encoded[at++] })
      } catch (error) {
        yield failure(id, error)
      }
    }
    rows.sort((a, b) => a.row.ids.length - b.row.ids.length) // alike lengths share a batch, so little is padding
    for (const wanted of cut(rows, tokenBudget)) {
      const batch = wanted.filter(({ request }) => !requests[request].withdrawn)
      if (batch.length === 0) continue
      const began = monotonic()
      let results: Result[]
      try {
        results = await task.infer(
          batch.map(({ row }) => row),
          alone,
        )
      } catch (error) {
        for (const r of new Set(batch.map(({ request }) => request))) {
          if (open[r].left > 0) yield failure(requests[r].id, error)
          open[r].left = -1
        }
        continue
      }
      batches++
      const took = monotonic() - began
      for (const [i, { request: r, index, row }] of batch.entries()) {
        const target = open[r]
        if (!requests[r].canary) task.observe?.(row, results[i])
        target.results[index] = results[i]
        target.left--
        target.tokens += batch[i].row.ids.length
        target.batch = Math.max(target.batch, batch.length)
        if (target.left !== 0) continue
        const request = requests[r]
        let output: EngineOutput
        try {
          output = task.answer(target.results, request)
        } catch (error) {
          yield failure(request.id, error)
          continue
        }
        const timings = {
          queue: started - request.at,
          pre: ready - started,
          run: took,
          post: monotonic() - began - took,
          batch: target.batch,
          tokens: target.tokens,
        }
        yield { id: request.id, output, timings }
      }
    }
  }
  return {
    get batches() {
      return batches
    },
    get lanes() {
      return lanes?.count ?? 1
    },
    widen: () => lanes?.widen(),
    close: async () => lanes?.close(),
    run,
  }
}

/** Batches of rows sorted by length, each within the budget of padded tokens. */
function* cut<Row extends { readonly ids: ArrayLike<number> }>(
  rows: readonly Placed<Row>[],
  tokenBudget: number,
): Generator<Placed<Row>[]> {
  let batch: Placed<Row>[] = []
  for (const placed of rows) {
    const tokens = (batch.length + 1) * placed.row.ids.length
    if (batch.length > 0 && (batch.length >= ROW_LIMIT || tokens > tokenBudget)) {
      yield batch
      batch = []
    }
    batch.push(placed)
  }
  if (batch.length > 0) yield batch
}

/** Rows padded to the last, which is the longest: ids (batch, time), lengths (batch). */
export function textFeeds(batch: readonly { readonly ids: ArrayLike<number> }[]): Record<string, ort.Tensor> {
  const time = batch.at(-1)!.ids.length
  const ids = new BigInt64Array(batch.length * time)
  batch.forEach((row, r) => {
    for (let t = 0; t < row.ids.length; t++) ids[r * time + t] = BigInt(row.ids[t])
  })
  const lengths = BigInt64Array.from(batch, (row) => BigInt(row.ids.length))
  return {
    ids: new ort.Tensor('int64', ids, [batch.length, time]),
    lengths: new ort.Tensor('int64', lengths, [batch.length]),
  }
}
