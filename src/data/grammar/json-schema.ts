import { fail } from '../../base/errors.ts'
import { type Grammar, jsonRules, rule, type Term, text } from './grammar.ts'

type Schema = Record<string, unknown>

const RULES = 20_000
const REPEATS = 2_000
const DEPTH = 64

/** Keywords that say nothing of what may stand there. */
const notes = new Set([
  ...['$schema', '$id', '$comment', '$defs', 'definitions', 'title', 'description', 'default', 'examples', 'format'],
  ...['deprecated', 'readOnly', 'writeOnly', 'strict'],
])

/** The keywords that each type takes beside those of all. */
const keywords: Record<string, readonly string[]> = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength'],
  number: [],
  integer: [],
  boolean: [],
  null: [],
}

/**
 * The texts that a JSON Schema (2020-12) describes, as a grammar: objects have their declared properties in the order of the
 * schema, those that are not required may be left out; an object without declared properties may have any. What cannot be
 * held to (`pattern`, `minimum`, `allOf`, …) is refused, not passed over: BAD_REQUEST naming the place. Names of its rules
 * begin with `prefix`, so that several can be put together.
 */
export function schemaGrammar(schema: Schema, prefix = ''): Grammar {
  const rules = new Map<string, readonly (readonly Term[])[]>(jsonRules)
  const known = new Map<string, Term>()
  const refuse = (at: string, reason: string) => fail('BAD_REQUEST', { message: `schema${at}: ${reason}` })
  let count = 0

  const add = (choices: readonly (readonly Term[])[]): Term => {
    const name = `${prefix}r${count++}`
    if (count > RULES) throw refuse('', 'it is too large')
    rules.set(name, choices)
    return rule(name)
  }
  const numberAt = (one: Schema, key: string, at: string, otherwise: number) => {
    const value = one[key] ?? otherwise
    if (value === otherwise) return otherwise
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= REPEATS) return value
    throw refuse(`${at}/${key}`, `expected a whole number up to ${REPEATS}`)
  }
  /** `least` to `most` of them with `between`; `most` may be infinite. */
  const repeat = (one: Term, between: readonly Term[], least: number, most: number): Term => {
    const again = [...between, one]
    let rest: Term
    if (most === Number.POSITIVE_INFINITY) {
      const name = `${prefix}r${count++}`
      rules.set(name, [[], [...again, rule(name)]])
      rest = rule(name)
    } else {
      rest = add([[]])
      for (let i = Math.max(1, least); i < most; i++) rest = add([[], [...again, rest]])
    }
    for (let i = 1; i < least; i++) rest = add([[...again, rest]])
    if (most === 0) return add([[]])
    return add(least === 0 ? [[], [one, rest]] : [[one, rest]])
  }

  function object(one: Schema, at: string, depth: number): Term {
    const {
      properties = {},
      required = [],
      additionalProperties: more = true,
    } = one as {
      properties?: Record<string, Schema>
      required?: string[]
      additionalProperties?: unknown
    }
    if (typeof properties !== 'object' || properties === null) throw refuse(`${at}/properties`, 'expected an object')
    if (!Array.isArray(required)) throw refuse(`${at}/required`, 'expected a list')
    const names = Object.keys(properties)
    const missing = required.find((name) => !names.includes(name))
    if (missing !== undefined)
      throw refuse(`${at}/required`, `"${String(missing).slice(0, 40)}" is not among the properties`)
    if (names.length === 0) {
      if (more === false) return text('{}')
      if (more === true) return rule('object')
      const member = add([[rule('string'), rule('colon'), visit(more, `${at}/additionalProperties`, depth + 1)]])
      return add([[text('{'), repeat(member, [rule('comma')], 0, Number.POSITIVE_INFINITY), text('}')]])
    }
    // from the last property on: what may follow when none was written yet, and when one was
    let [first, next] = [add([[]]), add([[]])]
    for (const name of names.toReversed()) {
      const value = visit(properties[name], `${at}/properties/${name}`, depth + 1)
      const member = [text(JSON.stringify(name)), rule('colon'), value]
      const optional = !required.includes(name)
      first = add([[...member, next], ...(optional ? [[first]] : [])])
      next = add([[rule('comma'), ...member, next], ...(optional ? [[next]] : [])])
    }
    return add([[text('{'), first, text('}')]])
  }

  const types: Record<string, (one: Schema, at: string, depth: number) => Term> = {
    object,
    array: (one, at, depth) => {
      const { items = true } = one
      const [least, most] = [numberAt(one, 'minItems', at, 0), numberAt(one, 'maxItems', at, Number.POSITIVE_INFINITY)]
      if (least > most) throw refuse(`${at}/minItems`, 'more than maxItems')
      const item = visit(items, `${at}/items`, depth + 1)
      return add([[text('['), repeat(item, [rule('comma')], least, most), text(']')]])
    },
    string: (one, at) => {
      const [least, most] = [
        numberAt(one, 'minLength', at, 0),
        numberAt(one, 'maxLength', at, Number.POSITIVE_INFINITY),
      ]
      if (least > most) throw refuse(`${at}/minLength`, 'more than maxLength')
      if (least === 0 && most === Number.POSITIVE_INFINITY) return rule('string')
      return add([[text('"'), repeat(rule('letter'), [], least, most), text('"')]])
    },
    number: () => rule('number'),
    integer: () => rule('integer'),
    boolean: () => rule('boolean'),
    null: () => rule('null'),
  }

  function visit(value: unknown, at: string, depth: number): Term {
    if (depth > DEPTH) throw refuse(at, `nested deeper than ${DEPTH}`)
    if (value === true) return rule('value')
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse(at, 'expected a schema')
    const one = Object.fromEntries(Object.entries(value).filter(([key]) => !notes.has(key)))
    const allowed = (...keys: readonly string[]) => {
      const other = Object.keys(one).find((key) => !keys.includes(key))
      if (other !== undefined) throw refuse(`${at}/${other.slice(0, 40)}`, 'this keyword is not supported here')
    }
    if (one.$ref !== undefined) {
      allowed('$ref')
      return refer(String(one.$ref), at)
    }
    if (one.const !== undefined || one.enum !== undefined) {
      allowed('const', 'enum', 'type')
      const values = one.const !== undefined ? [one.const] : one.enum
      if (!Array.isArray(values) || values.length === 0) throw refuse(`${at}/enum`, 'expected a list of values')
      return add(values.map((each) => [text(JSON.stringify(each))]))
    }
    const choices = one.anyOf ?? one.oneOf
    if (choices !== undefined) {
      allowed('anyOf', 'oneOf', 'type')
      if (!Array.isArray(choices) || choices.length === 0) throw refuse(`${at}/anyOf`, 'expected a list of schemas')
      return add(choices.map((each, i) => [visit(each, `${at}/anyOf/${i}`, depth + 1)]))
    }
    if (one.type === undefined) {
      if (Object.keys(one).length === 0) return rule('value')
      one.type = Object.keys(keywords).find((type) => keywords[type].some((key) => key in one)) ?? 'any'
    }
    const named = Array.isArray(one.type) ? one.type : [one.type]
    for (const type of named)
      if (typeof type !== 'string' || !Object.hasOwn(types, type))
        throw refuse(`${at}/type`, `"${String(type).slice(0, 40)}" is no type`)
    allowed('type', ...named.flatMap((type: string) => keywords[type]))
    const terms = named.map((type: string) => types[type](one, at, depth))
    return terms.length === 1 ? terms[0] : add(terms.map((term) => [term]))
  }

  function refer(target: string, at: string): Term {
    const found = known.get(target)
    if (found) return found
    if (target !== '#' && !target.startsWith('#/')) throw refuse(`${at}/$ref`, 'only references within the schema')
    let place: unknown = schema
    for (const key of target.split('/').slice(1)) {
      const name = decodeURIComponent(key).replaceAll('~1', '/').replaceAll('~0', '~')
      place =
        typeof place === 'object' && place !== null && Object.hasOwn(place, name) ? (place as Schema)[name] : undefined
    }
    if (place === undefined) throw refuse(`${at}/$ref`, `nothing at "${target.slice(0, 80)}"`)
    const name = `${prefix}r${count++}`
    known.set(target, rule(name)) // before it is visited: it may refer to itself
    rules.set(name, [[visit(place, target.slice(1), 0)]])
    return rule(name)
  }

  rules.set(`${prefix}root`, [[visit(schema, '', 0)]])
  return rules
}
