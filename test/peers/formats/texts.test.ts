// SavedModels that take texts, in TensorFlow itself. Needs Python with tensorflow-cpu (or tensorflow): ATHANOR_PYTHON names it.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ort from 'onnxruntime-node'
import { type PipelineConfig, TextPipeline } from '../../../src/data/pipeline.ts'
import { formats } from '../../../src/formats/formats.ts'
import { writeModel } from '../../../src/graph/codec.ts'
import { madeVariants } from '../../../src/testing/variants.ts'

const python = process.env.ATHANOR_PYTHON ?? 'python3'
const there = spawnSync(python, ['-c', 'import tensorflow'], { stdio: 'ignore' }).status === 0
const skip = there ? false : `${python} has no tensorflow; set ATHANOR_PYTHON`
const root = mkdtempSync(join(tmpdir(), 'athanor-texts-'))
after(() => rmSync(root, { recursive: true, force: true }))

const learnt = ['这部电影太好看了，我还想再看一遍……', '剧情无聊，浪费了我 2 个小时', 'A fine film, ok.', 'é ½ ß']
async function* texts() {
  yield* learnt
}
const asked = [
  ...learnt,
  '',
  ' \u3000\t ',
  'ＡＢＣ　电影…①㈱ﬁ',
  '未知的字 😀 \u{1d400}\u{2f800}',
  '\u200b电\u00ad影\u0007好\r\n看\u2003!  ',
  'ÀÉÎ İ Σας',
  '长'.repeat(80),
]

for (const unicode of ['NFKC', 'NFC', 'none'] as const) {
  test(`character models take texts in TensorFlow, as our pipeline cuts them (${unicode})`, { skip }, async () => {
    const made = (await madeVariants()).find(({ name }) => name === 'textcnn')!
    const config: PipelineConfig = {
      normalise: { unicode, lowercase: unicode !== 'none' },
      tokenizer: 'character',
      vocabulary: 40,
      minimumCount: 1,
      maxLength: 20,
    }
    const pipeline = await TextPipeline.train(texts(), config)
    const manifest = { ...made.manifest, pipeline: config as unknown as Record<string, unknown> }
    const session = await ort.InferenceSession.create(writeModel(made.model), { logSeverityLevel: 3 })
    const probabilities: number[][] = []
    for (const row of await pipeline.encode(asked)) {
      const answer = await session.run({
        ids: new ort.Tensor('int64', BigInt64Array.from(row, BigInt), [1, row.length]),
        lengths: new ort.Tensor('int64', BigInt64Array.of(BigInt(row.length)), [1]),
      })
      probabilities.push(Array.from(answer.probabilities.data as Float32Array))
    }
    const written = { model: made.model, manifest, tokenizer: pipeline.tokenizerJson }
    const files = await formats.find(({ name }) => name === 'savedmodel')!.write!(written, {})
    writeFileSync(join(root, 'saved_model.pb'), files['saved_model.pb'])
    writeFileSync(join(root, 'asked.json'), JSON.stringify({ texts: asked, joined: ['e\u0301'] }))
    const output = execFileSync(python, [fileURLToPath(new URL('texts.py', import.meta.url)), root], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const { answers, alone, refused } = JSON.parse(String(output))
    for (const found of [answers, alone]) {
      probabilities.forEach((row, i) => {
        row.forEach((value, k) => {
          const difference = Math.abs(value - found[i][k])
          assert.ok(difference <= 1e-5, `${JSON.stringify(asked[i])}: TensorFlow ${found[i][k]}, ours ${value}`)
        })
      })
    }
    // what a normal form would join is refused rather than cut otherwise
    assert.equal(refused, unicode !== 'none')
  })
}
