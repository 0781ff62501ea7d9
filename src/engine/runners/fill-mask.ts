import { fail } from '../../base/errors.ts'
import ort from '../../base/onnxruntime.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import { scriptOf } from '../../drift/features.ts'
import { Sketch } from '../../drift/sketch.ts'
import type { Fill } from '../messages.ts'
import type { OpenRunner } from '../runner.ts'
import { openGraph } from '../session.ts'
import { textFeeds, textRunner } from '../texts.ts'

interface Row {
  readonly ids: Int32Array
  /** Where the masks are. */
  readonly places: number[]
  readonly script: number
}

/** Words kept of each mask; a request may ask for fewer. */
const KEPT = 100
const DEFAULT = 5

/** Graphs of `ids`, `lengths` and `positions` (batch, places) that give `probabilities` (batch, places, vocabulary). */
export const fillMaskRunner: OpenRunner = async (manifest, read, options) => {
  const { tokenBudget, onWindow } = options
  const session = await openGraph(read, options)
  const json = Buffer.from(read('tokenizer.json')).toString('utf8')
  const tokenizer = new PublishedTokenizer(json, { maxLength: Number(manifest.pipeline?.maxLength) })
  const { mask, special } = tokenizer
  if (!mask) throw fail('BUNDLE_INVALID', { reason: 'tokenizer.json has no token for masked words' })
  const sketch = onWindow && manifest.reference && Sketch.ofRead(manifest.reference)
  const words = new Map<number, string>()
  const wordOf = async (id: number) => {
    const known = words.get(id) ?? (await tokenizer.decode(id))
    words.set(id, known)
    return known
  }
  return textRunner<Row, Fill[][]>(
    {
      encode: async (texts) =>
        (await tokenizer.encode(texts)).map((ids, i) => ({
          ids,
          script: sketch ? scriptOf(texts[i]) : 0,
          places: [...ids.keys()].filter((t) => ids[t] === mask.id),
        })),
      async infer(batch) {
        const most = Math.max(...batch.map(({ places }) => places.length))
        if (most === 0) return batch.map(() => [])
        const positions = new BigInt64Array(batch.length * most)
        batch.forEach(({ places }, row) => {
          places.forEach((place, i) => {
            positions[row * most + i] = BigInt(place)
          })
        })
        const feeds = { ...textFeeds(batch), positions: new ort.Tensor('int64', positions, [batch.length, most]) }
        const { probabilities } = await session.run(feeds, ['probabilities'])
        const values = probabilities.data as Float32Array
        const size = probabilities.dims[2]
        const fillsAt = (at: number) =>
          Promise.all(
            best(values.subarray(at * size, (at + 1) * size)).map(async ([id, score]) => ({
              token: await wordOf(id),
              id,
              score,
            })),
          )
        return Promise.all(batch.map(({ places }, row) => Promise.all(places.map((_, i) => fillsAt(row * most + i)))))
      },
      observe({ ids, script }) {
        const window = sketch?.add({ ids: ids.filter((id) => !special.has(id)), script })
        if (window) onWindow?.(window)
      },
      answer(results, { topK = DEFAULT }) {
        if (results.some((fills) => fills.length === 0))
          throw fail('BAD_REQUEST', { message: `inputs: a text has no ${mask.content} to fill` })
        return { kind: 'fills', fills: results.map((masks) => masks.map((fills) => fills.slice(0, topK))) }
      },
    },
    tokenBudget,
  )
}

/** Ids and scores of the highest, best first. */
function best(scores: Float32Array): [number, number][] {
  const kept: number[] = []
  let least = Number.NEGATIVE_INFINITY
  scores.forEach((score, id) => {
    if (kept.length === KEPT && score <= least) return
    let at = kept.length
    while (at > 0 && scores[kept[at - 1]] < score) at--
    kept.splice(at, 0, id)
    if (kept.length > KEPT) kept.pop()
    if (kept.length === KEPT) least = scores[kept[KEPT - 1]]
  })
  return kept.map((id) => [id, scores[id]])
}
