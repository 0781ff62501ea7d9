import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AthanorError } from '../../base/errors.ts'
import { anyObject, type Grammar, toGbnf } from './grammar.ts'
import { schemaGrammar } from './json-schema.ts'
import { Machine, type State } from './machine.ts'
import { Vocabulary } from './vocabulary.ts'

/** Whether a text is one of the grammar; `begins`: whether it may become one. */
function reads(grammar: Grammar, text: string) {
  const machine = new Machine(grammar)
  let state: State | undefined = machine.start
  for (const byte of Buffer.from(text)) {
    state = machine.step(state, byte)
    if (!state) return { whole: false, begins: false }
  }
  return { whole: state.done, begins: true }
}

test('any object: what JSON.parse takes for an object, and nothing else', () => {
  const good = ['{}', '{"a":1}', '{"a": [1, -2.5e+10, "ü\\n\\u00e9", {"b": null}], "c": true}', '{"你好":"🙂"}']
  const bad = [
    '[]',
    '{"a"}',
    '{a:1}',
    '{"a":01}',
    '{"a":1,}',
    '{"a":"\n"}',
    '{"a":1}}',
    '{"a":+1}',
    '{"a":tru}',
    '{"a":.5}',
  ]
  for (const text of good) assert.ok(JSON.parse(text) && reads(anyObject, text).whole, text)
  for (const text of bad) {
    assert.ok(!reads(anyObject, text).whole, text)
  }
  assert.deepEqual(reads(anyObject, '{"a":'), { whole: false, begins: true })
})

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 2, maxLength: 4 },
    age: { type: 'integer' },
    tags: { type: 'array', items: { enum: ['a', 'b c'] }, minItems: 1, maxItems: 2 },
    next: { anyOf: [{ $ref: '#' }, { type: 'null' }] },
    more: { type: 'object', additionalProperties: { type: 'boolean' } },
  },
  required: ['name', 'next'],
  additionalProperties: false,
}

test('a schema: order, what is required, bounds, choices, references to itself', () => {
  const grammar = schemaGrammar(schema)
  const good = [
    '{"name":"ab","next":null}',
    '{"name": "üüüü", "age": 7, "tags": ["a", "b c"], "next": {"name":"ab","next":null}, "more": {"x": true}}',
    '{"name":"a\\"","next":null,"more":{}}',
  ]
  const bad = [
    '{}',
    '{"next":null,"name":"ab"}',
    '{"name":"a","next":null}',
    '{"name":"abcde","next":null}',
    '{"name":"ab","age":1.5,"next":null}',
    '{"name":"ab","tags":[],"next":null}',
    '{"name":"ab","tags":["a","a","a"],"next":null}',
    '{"name":"ab","tags":["c"],"next":null}',
    '{"name":"ab","next":null,"other":1}',
    '{"name":"ab","next":null,"more":{"x":1}}',
    '{,"name":"ab","next":null}',
  ]
  for (const text of good) assert.ok(reads(grammar, text).whole, text)
  for (const text of bad) assert.ok(!reads(grammar, text).whole, text)
  for (const text of ['true', '5', '"x"', '[1]'])
    assert.ok(reads(schemaGrammar({ type: ['boolean', 'integer', 'string', 'array'] }), text).whole)
})

test('what cannot be held to is refused with its place', () => {
  const cases: [object, RegExp][] = [
    [{ type: 'string', pattern: 'a+' }, /^schema\/pattern/],
    [{ type: 'object', properties: { a: { type: 'integer', minimum: 3 } } }, /^schema\/properties\/a\/minimum/],
    [{ allOf: [{}] }, /^schema\/(allOf|type)/],
    [{ type: 'strin' }, /"strin" is no type/],
    [{ $ref: 'http://x/y' }, /only references within/],
    [{ $ref: '#/$defs/x' }, /nothing at/],
    [{ type: 'array', minItems: 1e9 }, /minItems/],
    [{ type: 'array', minItems: 3, maxItems: 2 }, /more than maxItems/],
    [{ type: 'object', required: ['a'] }, /not among/],
    [
      { type: 'array', items: { type: 'array', items: { type: 'array', maxItems: 2000, items: 3 } } },
      /expected a schema/,
    ],
    [{ enum: [] }, /list of values/],
    [{ anyOf: 'x' }, /list of schemas/],
  ]
  for (const [given, message] of cases)
    assert.throws(
      () => schemaGrammar(given as Record<string, unknown>),
      (error) => (error as AthanorError).code === 'BAD_REQUEST' && message.test((error as AthanorError).message),
      JSON.stringify(given),
    )
  let deep: object = {}
  for (let i = 0; i < 100; i++) deep = { type: 'array', items: deep }
  assert.throws(() => schemaGrammar(deep as Record<string, unknown>), /nested deeper/)
})

test('tokens of several characters: exactly those that a text can go on with', () => {
  const grammar = schemaGrammar({ enum: ['yes', 'no', null] })
  const tokens = ['"', '"y', 'yes', '"yes"', 'n', 'null', 'nul', '"no', 'o"', '"nope', ' ', '']
  const machine = new Machine(grammar)
  const vocabulary = new Vocabulary(tokens.length, (token) => Buffer.from(tokens[token]))
  const { mask } = vocabulary.allowed(machine, machine.start)
  assert.deepEqual(
    tokens.filter((_, i) => mask[i]),
    ['"', '"y', '"yes"', 'n', 'null', 'nul', '"no'],
  )
})

test('long texts take no more memory: equal states are the same', () => {
  const machine = new Machine(anyObject)
  let state = machine.start
  for (const byte of Buffer.from('{"a":"')) state = machine.step(state, byte)!
  const inside = machine.step(state, 97)!
  for (let i = 0; i < 10_000; i++) state = machine.step(state, 97 + (i % 26))!
  assert.equal(state, inside)
  assert.match(toGbnf(anyObject), /root ::= object/)
})
