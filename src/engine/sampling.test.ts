import assert from 'node:assert/strict'
import { test } from 'node:test'
import { byteAlphabet, TextCodec } from '../data/codec.ts'
import type { GenerationRequest } from './messages.ts'
import { Sampler } from './sampling.ts'
import { TextStream } from './text-stream.ts'

const plain = {
  temperature: 1,
  topP: 1,
  topK: 0,
  seed: 1,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
} satisfies Partial<GenerationRequest>
const scores = Float32Array.from([0.1, 2, -1, 1.5, 0, -3, 2.5, 1])

/** How often each token comes of many draws from the same scores, each by a sampler of its own. */
function shares(settings: Partial<GenerationRequest>, draws = 20_000) {
  const counts = new Array<number>(scores.length).fill(0)
  for (let seed = 0; seed < draws; seed++)
    counts[new Sampler({ ...plain, ...settings, seed }, []).draw(scores.slice()).token]++
  return counts.map((count) => count / draws)
}
const softmax = (values: readonly number[]) => {
  const weights = values.map((value) => Math.exp(value))
  const all = weights.reduce((a, b) => a + b, 0)
  return weights.map((weight) => weight / all)
}
function near(actual: readonly number[], expected: readonly number[]) {
  actual.forEach((share, i) => {
    assert.ok(Math.abs(share - expected[i]) < 0.012, `token ${i}: ${share}, expected ${expected[i]}`)
  })
}

test('tokens come as often as their probability says, within top-k and top-p', () => {
  const values = [...scores]
  near(shares({}), softmax(values))
  near(shares({ temperature: 0.5 }), softmax(values.map((value) => value / 0.5)))
  const kept = (tokens: number[]) => softmax(values.map((value, i) => (tokens.includes(i) ? value : -1e9)))
  near(shares({ topK: 3 }), kept([6, 1, 3]))
  // 0.44 and 0.27 reach 0.6 together
  near(shares({ topP: 0.6 }), kept([6, 1]))
  near(shares({ topK: 3, topP: 0.5 }), kept([6]))
  near(shares({ topP: 0 }, 100), kept([6]))
})

test('penalties lower what was read or written before', () => {
  const drawn = (settings: Partial<GenerationRequest>, prompt: number[] = []) => {
    const sampler = new Sampler({ ...plain, temperature: 0, ...settings }, prompt, [])
    return Array.from({ length: 3 }, () => sampler.draw(scores.slice()).token)
  }
  assert.deepEqual(drawn({}), [6, 6, 6])
  assert.deepEqual(drawn({ presencePenalty: 1.2 }), [6, 1, 3])
  assert.deepEqual(drawn({ frequencyPenalty: 0.4 }), [6, 6, 1])
  assert.deepEqual(drawn({ repetitionPenalty: 2 }), [6, 1, 3])
  assert.deepEqual(drawn({ repetitionPenalty: 2 }, [6]), [1, 3, 6])
  assert.equal(new Sampler({ ...plain, temperature: 0 }, [], [6]).draw(scores.slice()).token, 1, 'never written')
})

const codec = TextCodec.load(
  JSON.stringify({
    added_tokens: [{ id: 256, content: '<end>', special: true }],
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(byteAlphabet.map((letter, byte) => [letter, byte])) },
  }),
)
const pieces = (text: string, stop: string[]) => {
  const stream = new TextStream(codec, stop)
  const shown: string[] = []
  for (const byte of Buffer.from(text)) {
    const { text, stopped } = stream.push(byte)
    shown.push(text)
    if (stopped) return { shown, stopped }
  }
  return { shown: [...shown, stream.end().text], stopped: false }
}

test('characters come whole, and nothing of a stop string comes at all', () => {
  const text = '你好, 🙂 naïve <end of it>'
  const whole = pieces(text, [])
  assert.equal(whole.shown.join(''), text)
  for (const piece of whole.shown) assert.ok(!piece.includes('\ufffd'))
  for (const [stop, expected] of [
    ['好', '你'],
    ['🙂 n', '你好, '],
    ['end of it>', '你好, 🙂 naïve <'],
    ['it>!', text],
  ] as const) {
    const { shown, stopped } = pieces(text, ['zzz', stop])
    assert.equal(shown.join(''), expected)
    assert.equal(stopped, expected !== text)
    for (const piece of shown) assert.ok(!piece.includes('\ufffd'))
  }
  const cut = new TextStream(codec, [])
  assert.equal(cut.push(0xe4).text, '')
  assert.equal(cut.end().text, '\ufffd', 'a character that never came whole')
  assert.deepEqual(cut.push(256), { text: '', stopped: false }, 'special tokens are not shown')
})
