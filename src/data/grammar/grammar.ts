/** A piece of a rule: a text, one byte out of ranges, or another rule. */
export type Term =
  | { readonly text: string }
  | { readonly bytes: readonly (readonly [number, number])[] }
  | { readonly rule: string }

/** Rules by name, each a choice of sequences; `root` is where a text begins. */
export type Grammar = ReadonlyMap<string, readonly (readonly Term[])[]>

export const text = (value: string): Term => ({ text: value })
export const rule = (name: string): Term => ({ rule: name })
const bytes = (...ranges: (readonly [number, number])[]): Term => ({ bytes: ranges })

const tail = bytes([0x80, 0xbf])
const digit = bytes([0x30, 0x39])
const hex = bytes([0x30, 0x39], [0x41, 0x46], [0x61, 0x66])

/** One of `one` to `limit` of them, or none: a chain of rules `name1`, `name2`, … */
function upTo(name: string, one: Term, limit: number): [string, Term[][]][] {
  return Array.from({ length: limit }, (_, i) => {
    const left = i + 1
    return [`${name}${left}`, left === 1 ? [[], [one]] : [[], [one, rule(`${name}${left - 1}`)]]]
  })
}

/** What JSON is made of (RFC 8259), with at most one space between parts and numbers of bounded length. */
export const jsonRules: Grammar = new Map<string, Term[][]>([
  ['space', [[], [text(' ')]]],
  // a character that needs no escape, in UTF-8 (RFC 3629)
  [
    'char',
    [
      [bytes([0x20, 0x21], [0x23, 0x5b], [0x5d, 0x7e])],
      [bytes([0xc2, 0xdf]), tail],
      [bytes([0xe0, 0xe0]), bytes([0xa0, 0xbf]), tail],
      [bytes([0xe1, 0xec], [0xee, 0xef]), tail, tail],
      [bytes([0xed, 0xed]), bytes([0x80, 0x9f]), tail],
      [bytes([0xf0, 0xf0]), bytes([0x90, 0xbf]), tail, tail],
      [bytes([0xf1, 0xf3]), tail, tail, tail],
      [bytes([0xf4, 0xf4]), bytes([0x80, 0x8f]), tail, tail],
    ],
  ],
  ['escape', [...'"\\/bfnrt'].map((one) => [text(`\\${one}`)]).concat([[text('\\u'), hex, hex, hex, hex]])],
  ['letter', [[rule('char')], [rule('escape')]]],
  ['letters', [[], [rule('letter'), rule('letters')]]],
  ['string', [[text('"'), rule('letters'), text('"')]]],
  ...upTo('digits', digit, 15),
  ['whole', [[text('0')], [bytes([0x31, 0x39]), rule('digits15')]]],
  ['integer', [[rule('whole')], [text('-'), rule('whole')]]],
  ['fraction', [[], [text('.'), digit, rule('digits15')]]],
  ['sign', [[], [text('-')], [text('+')]]],
  [
    'exponent',
    [[], [text('e'), rule('sign'), digit, rule('digits1')], [text('E'), rule('sign'), digit, rule('digits1')]],
  ],
  ['number', [[rule('integer'), rule('fraction'), rule('exponent')]]],
  ['boolean', [[text('true')], [text('false')]]],
  ['null', [[text('null')]]],
  ['comma', [[text(','), rule('space')]]],
  ['colon', [[text(':'), rule('space')]]],
  ['items', [[], [rule('comma'), rule('value'), rule('items')]]],
  ['array', [[text('[]')], [text('['), rule('value'), rule('items'), text(']')]]],
  ['member', [[rule('string'), rule('colon'), rule('value')]]],
  ['members', [[], [rule('comma'), rule('member'), rule('members')]]],
  ['object', [[text('{}')], [text('{'), rule('member'), rule('members'), text('}')]]],
  ['value', ['object', 'array', 'string', 'number', 'boolean', 'null'].map((name) => [rule(name)])],
])

/** Text that does not begin as an object does. */
export const prose: [string, Term[][]][] = [
  ['free', [[], [bytes([0x01, 0xff]), rule('free')]]],
  ['prose', [[bytes([0x01, 0x7a], [0x7c, 0xff]), rule('free')]]],
]

/** Rules whose bytes are characters to llama.cpp. */
const ofCharacters: Record<string, string> = {
  char: '[^"\\\\\\x00-\\x1f\\x7f]',
  free: '[^\\x00]*',
  prose: '[^{\\x00] free',
}

/** Any JSON object. */
export const anyObject: Grammar = new Map([...jsonRules, ['root', [[rule('object')]]]])

/** The grammar as llama.cpp reads it (GBNF): its characters are code points, so that it needs no bytes. */
export function toGbnf(grammar: Grammar): string {
  const term = (one: Term): string => {
    if ('rule' in one) return one.rule.replaceAll('_', '-')
    if ('text' in one) return JSON.stringify(one.text).replaceAll('\\u00', '\\x')
    return `[${one.bytes.map(([from, to]) => `\\x${hexOf(from)}-\\x${hexOf(to)}`).join('')}]`
  }
  return [...grammar]
    .map(([name, choices]) => {
      if (Object.hasOwn(ofCharacters, name)) return `${name} ::= ${ofCharacters[name]}`
      return `${name.replaceAll('_', '-')} ::= ${choices.map((terms) => terms.map(term).join(' ') || '""').join(' | ')}`
    })
    .join('\n')
}

const hexOf = (byte: number) => byte.toString(16).padStart(2, '0')
