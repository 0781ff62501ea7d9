import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NativeContext } from './library.ts'
import { keepBeginning, type Seat, Seats } from './seats.ts'
import { paced, Steps, share, type Text } from './steps.ts'

type Piece = { sequence: number; position: number; tokens: number[] }

/** A context that writes down what it is asked to run; memory before `first` is gone. */
function recording(first = 0) {
  const batches: Piece[][] = []
  const cut: (readonly [number, number])[] = []
  const context: NativeContext = {
    initBatch() {
      batches.push([])
    },
    addToBatch(sequence, position, tokens, wanted) {
      batches.at(-1)!.push({ sequence, position, tokens: [...tokens] })
      return wanted
    },
    async decodeBatch() {
      await new Promise((resolve) => setImmediate(resolve))
      if (batches.at(-1)!.some(({ tokens }) => tokens.includes(13))) throw new Error('it cannot be run')
    },
    sampleToken: (async () => 7) as unknown as NativeContext['sampleToken'],
    removeTokenCellsFromSequence(sequence, from) {
      cut.push([sequence, from])
      return true
    },
    getSequenceKvCacheMinPosition: () => first,
    disposeSequence(sequence) {
      cut.push([sequence, 0])
    },
  }
  return { context, batches, cut }
}

const plain = { size: 512, window: 0, inTurn: false, stepped() {} }

function textOf(prompt: number[], count: number, signal = new AbortController().signal) {
  const { promise: left, resolve } = Promise.withResolvers<string>()
  const said: number[] = []
  let failed = false
  const text: Text<number> & { said: number[]; left: Promise<string> } = {
    tokens: [...prompt],
    said,
    left,
    get over() {
      return failed || signal.aborted || this.tokens.length - prompt.length >= count
    },
    async draw(context, logits) {
      const token = await context.sampleToken(logits, undefined!)
      ;(this.tokens as number[]).push(token)
      return token
    },
    tell(token) {
      said.push(token)
    },
    fail() {
      failed = true
    },
    leave: () => resolve(failed ? 'failed' : signal.aborted ? 'cancelled' : 'whole'),
  }
  return text
}

test('texts take their steps together, in the order of their seats; one that comes later is in the next', async () => {
  const { context, batches } = recording()
  const steps = new Steps(context, new Seats(4), plain)
  const [a, b] = [textOf([1, 2, 3], 3), textOf([4], 4)]
  steps.add(b)
  steps.add(a)
  while (batches.length < 2) await new Promise((resolve) => setImmediate(resolve))
  const late = textOf([5, 6], 1)
  steps.add(late)
  assert.deepEqual(await Promise.all([a.left, b.left, late.left]), ['whole', 'whole', 'whole'])
  assert.deepEqual(
    batches.map((batch) => batch.map(({ sequence, position, tokens }) => [sequence, position, ...tokens])),
    [
      [
        [0, 0, 1, 2, 3],
        [1, 0, 4],
      ],
      [
        [0, 3, 7],
        [1, 1, 7],
      ],
      [
        [0, 4, 7],
        [1, 2, 7],
        [2, 0, 5, 6],
      ],
      [[1, 3, 7]],
    ],
  )
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual([a.said.length, b.said.length, late.said.length], [3, 4, 1])
})

test('texts that come together sit side by side by their length, or where enough of a beginning was read before', async () => {
  const { context, batches } = recording()
  const steps = new Steps(context, new Seats(4), plain)
  const write = (...prompts: number[][]) => {
    const texts = prompts.map((prompt) => textOf(prompt, 1))
    for (const text of texts) steps.add(text)
    return Promise.all(texts.map(({ left }) => left))
  }
  const run = (first: number, length: number) => Array.from({ length }, (_, i) => first + i)
  const seated = () => batches.at(-1)!.map(({ sequence, position, tokens }) => [sequence, position, tokens[0]])
  await write(run(100, 2), run(200, 40), run(300, 3), run(400, 30))
  assert.deepEqual(seated(), [
    [0, 0, 200],
    [1, 0, 400],
    [2, 0, 300],
    [3, 0, 100],
  ])
  await write([...run(100, 2), 1], [...run(400, 30), 1])
  assert.deepEqual(seated(), [
    [0, 0, 100],
    [1, 30, 1],
  ])
})

test('who finds no seat waits, first come first served; who leaves meanwhile is never read', async () => {
  const { context, batches } = recording()
  const steps = new Steps(context, new Seats(1), plain)
  const stop = new AbortController()
  const [first, gone, last] = [textOf([1], 2), textOf([2], 1, stop.signal), textOf([3, 4], 1)]
  for (const text of [first, gone, last]) steps.add(text)
  stop.abort()
  assert.deepEqual(await Promise.all([first.left, gone.left, last.left]), ['whole', 'cancelled', 'whole'])
  assert.deepEqual(
    batches.map((batch) => batch.map(({ tokens }) => tokens)),
    [[[1]], [[7]], [[3, 4]]],
  )
})

test('a step that fails ends its texts, and those that come after it are written', async () => {
  const { context, batches } = recording()
  const steps = new Steps(context, new Seats(2), plain)
  const [bad, beside] = [textOf([13], 2), textOf([4], 2)]
  steps.add(bad)
  steps.add(beside)
  assert.deepEqual(await Promise.all([bad.left, beside.left]), ['failed', 'failed'])
  const next = textOf([4, 5], 2)
  steps.add(next)
  assert.equal(await next.left, 'whole')
  assert.deepEqual(batches[1][0].tokens, [4, 5], 'nothing of a failed step counts as read')
})

test('where all runs in turn, tokens are asked for with their step; nobody leaves while one is drawn', async () => {
  const { context } = recording()
  const asked: string[] = []
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(what: string, run: () => Promise<T>) => {
    asked.push(what)
    const mine = turn.catch(() => undefined).then(run)
    turn = mine
    return mine
  }
  const { decodeBatch } = context
  context.decodeBatch = () => inTurn('step', decodeBatch).finally(() => asked.push('done'))
  context.sampleToken = (() =>
    inTurn('draw', async () => 7).finally(() => asked.push('drawn'))) as unknown as NativeContext['sampleToken']
  const steps = new Steps(context, new Seats(2), { ...plain, inTurn: true })
  const [a, b] = [textOf([1], 1), textOf([4], 1)]
  steps.add(a)
  steps.add(b)
  assert.deepEqual(await Promise.all([a.left, b.left]), ['whole', 'whole'])
  assert.deepEqual(asked.splice(0), ['step', 'draw', 'draw', 'done', 'drawn', 'drawn'])
  const bad = textOf([13], 2)
  steps.add(bad)
  assert.equal(await bad.left, 'failed')
  assert.deepEqual(asked, ['step', 'draw', 'done', 'drawn'])
})

test('a long beginning is left after the step in which its reader goes, and its seat keeps what was read', async () => {
  const { context, batches } = recording()
  const steps = new Steps(context, new Seats(1), {
    ...plain,
    size: 64,
    stepped() {
      if (batches.length === 2) stop.abort()
    },
  })
  const stop = new AbortController()
  const prompt = Array.from({ length: 1000 }, (_, i) => 100 + i)
  const text = textOf(prompt, 5, stop.signal)
  steps.add(text)
  assert.equal(await text.left, 'cancelled')
  assert.deepEqual([batches.length, text.said.length], [2, 0])
  const again = textOf(prompt, 1)
  steps.add(again)
  await again.left
  assert.equal(batches[2][0].position, 128)
})

test('beginnings share what a step has room for, and no text is without a token', () => {
  assert.deepEqual(share(8, [100, 1, 3]), [4, 1, 3])
  assert.deepEqual(share(512, [1, 600, 1, 20]), [1, 490, 1, 20])
  assert.deepEqual(share(10, [4, 9, 9]), [3, 3, 3])
  assert.deepEqual(share(8, Array(8).fill(2)), Array(8).fill(1))
  assert.deepEqual(share(4, Array(8).fill(2)), Array(8).fill(1))
})

test('a step that takes long makes the next ones shorter, until one that is full is quick', () => {
  assert.equal(paced(512, 512, 512, 4_000), 256)
  assert.equal(paced(64, 512, 64, 4_000), 64)
  assert.equal(paced(64, 512, 8, 20), 64, 'it only wrote')
  assert.equal(paced(64, 512, 64, 500), 64)
  assert.equal(paced(64, 512, 50, 100), 128)
  assert.equal(paced(512, 512, 512, 100), 512)
})

test('of what a seat has read the common beginning is kept, without the last token; all goes where memory cannot be cut', () => {
  const seat = (): Seat => ({ number: 3, read: [1, 2, 3, 4, 5, 6] })
  const kept = (tokens: number[], first: number, window: number) => {
    const [{ context, cut }, one] = [recording(first), seat()]
    keepBeginning(one, tokens, context, window)
    return [one.read.length, ...cut.flat()]
  }
  assert.deepEqual(kept([1, 2, 9], 0, 0), [2, 3, 2])
  assert.deepEqual(kept([1, 2, 3, 4], 0, 0), [3, 3, 3])
  assert.deepEqual(kept([1, 2, 3, 4, 5, 6, 7], 0, 0), [6], 'nothing to forget')
  assert.deepEqual(kept([9], 0, 0), [0, 3, 0])
  assert.deepEqual(kept([1, 2, 3, 4, 9], 2, 2), [4, 3, 4], 'the window is still there')
  assert.deepEqual(kept([1, 2, 3, 9], 2, 2), [0, 3, 0], 'a part of the window is gone')
  assert.deepEqual(kept([1, 2, 3, 9], 5, 0), [0, 3, 0], 'a recurrent model')
})
