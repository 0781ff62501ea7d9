import { fail } from '../../base/errors.ts'
import { type Static, Type } from '../../base/schema.ts'

/*
 * Schemas as OpenAI's clients need them: `null` means absent, and a field of two types names both, so that the message of
 * a refusal speaks of the right one.
 */
interface NumberRange {
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
}
interface Length {
  minLength?: number
  maxLength?: number
}

export const number = (range: NumberRange) =>
  Type.Optional(Type.Unsafe<number | null>({ type: ['number', 'null'], ...range }))
export const integer = (range: NumberRange) =>
  Type.Optional(Type.Unsafe<number | null>({ type: ['integer', 'null'], ...range }))
export const boolean = () => Type.Optional(Type.Unsafe<boolean | null>({ type: ['boolean', 'null'] }))
export const text = (length: Length = {}) =>
  Type.Optional(Type.Unsafe<string | null>({ type: ['string', 'null'], ...length }))
/** An object of any fields. */
export const anything = () => Type.Optional(Type.Unsafe<Record<string, unknown> | null>({ type: ['object', 'null'] }))
/** A number, or `auto`. */
export const auto = (type: 'integer' | 'number', range: NumberRange) =>
  Type.Optional(Type.Unsafe<number | 'auto'>({ type: [type, 'string'], pattern: '^auto$', ...range }))
/** A text, or a list of texts. */
export const texts = (items: { minItems?: number; maxItems?: number } = {}) =>
  Type.Unsafe<string | string[]>({ type: ['string', 'array'], items: { type: 'string' }, ...items })

export const listOf = <T>(value: T | T[] | null | undefined): T[] =>
  value === null || value === undefined ? [] : Array.isArray(value) ? value : [value]

/** A text or several, or the token ids of one or of several. */
export const TextsOrIds = Type.Unsafe<string | (string | number | number[])[]>({
  type: ['string', 'array'],
  minItems: 1,
  items: {
    type: ['string', 'integer', 'array'],
    minimum: 0,
    minItems: 1,
    items: { type: 'integer', minimum: 0 },
  },
})

/** The same as a list, all of one kind; throws BAD_REQUEST for a mixture. */
export function textsOrIds(given: Static<typeof TextsOrIds>, param: string): string[] | number[][] {
  const list = listOf<string | number | number[]>(given)
  if (list.every((one) => typeof one === 'string')) return list
  if (list.every((one) => typeof one === 'number')) return [list]
  if (list.every((one) => typeof one === 'object')) return list
  throw fail('BAD_REQUEST', { message: `${param}: expected texts or token ids, not both`, param })
}
