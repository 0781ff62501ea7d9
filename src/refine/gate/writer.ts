import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fail } from '../../base/errors.ts'
import { TextCodec } from '../../data/codec.ts'
import { generationConfig } from '../../data/generation.ts'
import { Decoder } from '../../engine/decoder.ts'
import type { Engine } from '../../engine/engine.ts'
import { GREEDY } from '../../engine/messages.ts'
import { openSession } from '../../engine/session.ts'
import type { Example } from '../examples/example.ts'
import { type Measurable, timed } from './measurable.ts'
import type { Candidate } from './measure.ts'
import { measured } from './measures.ts'

/** Tokens read of each text while quality is measured, the texts that are read together, and how many there are at most. */
const [TOKENS, TOGETHER, TEXTS] = [64, 16, 64]
/** Characters of a prompt and tokens that are written after it while speed is measured, and texts written together. */
const [PROMPT, WRITTEN, BATCH] = [48, 16, 8]
const DEADLINE = 300_000

/**
 * A model that writes: how well it foretells each next token of the rows, how often its first choice is the source's, and how
 * long it takes for some tokens. It reads token by token through its cache, as it is served.
 */
export function writer({ manifest: { pipeline } }: Candidate, rows: readonly Example[]): Measurable {
  if (rows.length === 0) throw fail('REFINE_UNMEASURABLE', {})
  const config = generationConfig(pipeline)
  const write = async (engine: Engine, n: number) => {
    const { text } = rows[n % rows.length]
    const generation = { ...GREEDY, prompt: text.slice(0, PROMPT), maxTokens: Math.min(WRITTEN, config.context - 1) }
    for await (const _ of engine.generate(generation, { deadline: DEADLINE }));
  }
  return {
    batchRows: BATCH,
    singles: 8,
    async quality(_engines, [source, refined]) {
      const codec = TextCodec.load(readFileSync(source.files['tokenizer.json'], 'utf8'))
      const encoded = await codec.encodeAll(rows.slice(0, TEXTS).map(({ text }) => text))
      const limit = Math.min(TOKENS, config.context)
      const texts = encoded.map((ids) => ids.slice(0, limit)).filter(({ length }) => length >= 2)
      if (texts.length === 0) throw fail('REFINE_UNMEASURABLE', {})
      const [before, after] = [await read(source, texts), await read(refined, texts)]
      const count = before.choices.length
      const same = before.choices.filter((choice, i) => choice === after.choices[i]).length
      const [one, other] = [before, after].map(({ loss }) => loss / count)
      return {
        rows: texts.length,
        metrics: { loss: other, perplexity: Math.exp(other) },
        table: [
          measured('perplexity', Math.exp(one), Math.exp(other)),
          measured('agreement', 1, same / Math.max(1, count)),
        ],
      }
    },
    single: (engine, n) => timed(() => write(engine, n)),
    batch: (engine, n) =>
      timed(() => Promise.all(Array.from({ length: BATCH }, (_, i) => write(engine, n * BATCH + i)))),
  }
}

/** The loss of the tokens of some texts, in all, and the model's own choice at each place. */
async function read({ files, manifest }: Candidate, texts: readonly Int32Array[]) {
  const session = await openSession(readFileSync(files['model.onnx']), availableParallelism())
  const decoder = new Decoder(session, manifest)
  const choices: number[] = []
  let loss = 0
  try {
    for (let at = 0; at < texts.length; at += TOGETHER) {
      const part = texts.slice(at, at + TOGETHER)
      const longest = Math.max(...part.map(({ length }) => length))
      let cache = decoder.open(part.map(() => longest))
      for (let t = 0; t + 1 < longest; t++) {
        // a text that has ended reads its last token again: what comes of that is not counted
        const ids = BigInt64Array.from(part, (text) => BigInt(text[Math.min(t, text.length - 1)]))
        const { logits, cache: longer } = await decoder.read(cache, ids)
        cache = longer
        part.forEach((text, row) => {
          if (t + 1 >= text.length) return
          const scores = logits[row]
          let most = 0
          for (let id = 1; id < scores.length; id++) if (scores[id] > scores[most]) most = id
          let sum = 0
          for (const score of scores) sum += Math.exp(score - scores[most])
          loss += Math.log(sum) + scores[most] - scores[text[t + 1]]
          choices.push(most)
        })
      }
    }
  } finally {
    await session.release()
  }
  return { loss, choices }
}
