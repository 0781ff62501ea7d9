import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type, Type as TypeBox } from './schema.ts'

/** One schema of every builder, optional and not, with options and without. */
const written = (type: typeof Type) => {
  const point = type.Object({
    x: type.Number({ minimum: 0 }),
    y: type.Optional(type.Integer()),
    name: type.String({ description: 'what it is called', maxLength: 80 }),
  })
  return {
    point,
    empty: type.Object({}, { additionalProperties: false }),
    optional: type.Object({ all: type.Optional(type.Boolean()), or: type.Optional(type.Null()) }),
    any: type.Object({ any: type.Unknown() }),
    list: type.Array(point, { minItems: 1 }),
    either: type.Union([type.Literal('a'), type.Literal(1), type.Literal(true), type.Null()], { description: 'one' }),
    record: type.Record(type.String({ maxLength: 300 }), type.Number()),
    named: type.Record(type.String({ pattern: '^[0-9]+$' }), type.Number(), { maxProperties: 32 }),
    unsafe: type.Unsafe<string | string[]>({ type: ['string', 'array'] }),
    partial: type.Partial(point, { additionalProperties: false }),
    picked: type.Pick(point, ['x', 'y']),
    omitted: type.Omit(point, ['x']),
  }
}

test('schemas are those of TypeBox', () => {
  const ours = written(Type)
  const theirs = written(TypeBox as typeof Type)
  for (const name of Object.keys(ours) as (keyof typeof ours)[])
    assert.deepEqual(JSON.parse(JSON.stringify(ours[name])), JSON.parse(JSON.stringify(theirs[name])), name)
})
