import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { converse } from './converse.ts'

type Said = { role: string; content: string }[]

test('a conversation at the terminal: lines that go on, an answer that is stopped, a question that fails', async () => {
  const input = new PassThrough()
  const output = new PassThrough().resume()
  const asked: Said[] = []
  const shown: string[] = []
  const type = (text: string) => setImmediate(() => input.write(text))
  const answers: ((signal: AbortSignal) => AsyncGenerator<{ text: string }>)[] = [
    async function* () {
      yield { text: 'hel' }
      yield { text: 'lo' }
      type('more\r')
    },
    async function* (signal) {
      yield { text: 'half' }
      type('\x03')
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      type('bad\r')
      signal.throwIfAborted()
    },
    async function* () {
      type('good\r')
      yield* []
      throw fail('PROMPT_TOO_LONG', { tokens: 9, limit: 8 })
    },
    async function* () {
      yield { text: 'yes' }
      type('\x04')
    },
  ]
  const client = {
    stream(_model: string, said: Said, { signal }: { signal: AbortSignal }) {
      asked.push(structuredClone(said))
      return answers.shift()!(signal)
    },
  }
  const note = (text: string) => shown.push(text)
  const out = { piece: note, say() {}, complain: note, clear() {}, style: (_style: string, text: string) => text }
  type('one \\\rtwo\r')
  const context = { client, out } as unknown as Context
  await converse(context, 'chatty', { system: 'be brief' }, { input, output })
  const question = (content: string) => ({ role: 'user', content })
  const answer = (content: string) => ({ role: 'assistant', content })
  const first = [{ role: 'system', content: 'be brief' }, question('one \ntwo')]
  const second = [...first, answer('hello'), question('more')]
  assert.deepEqual(asked, [
    first,
    second,
    [...second, answer('half'), question('bad')],
    [...second, answer('half'), question('good')],
  ])
  assert.match(shown.join(''), /hello.*half.*PROMPT_TOO_LONG.*yes/s)
})
