import { fail } from '../../base/errors.ts'

/** What a condition of MLflow's search can ask for: `metrics.loss`, `params.epochs`, `tags.team`, or a plain field. */
export interface Searched {
  metrics?: Readonly<Record<string, number>>
  params?: Readonly<Record<string, string>>
  tags?: Readonly<Record<string, string>>
  fields: Readonly<Record<string, string | number | undefined>>
}

const bad = (text: string) => fail('BAD_REQUEST', { message: `filter: cannot read "${text.slice(0, 80)}"` })

const CONDITION =
  /^\s*(?:(metrics?|params?|parameters?|tags?|attributes?|attrs?|runs?)\.)?(?:`([^`]{1,250})`|"([^"]{1,250})"|([\w.\-/]{1,250}))\s*(!=|>=|<=|=|>|<|\s(?:not\s+)?i?like\s|\s(?:not\s+)?in\s)\s*('(?:[^'])*'|"(?:[^"])*"|-?[\d.]+(?:e[+-]?\d+)?|\((?:\s*'[^']*'\s*,?)+\))\s*(?:and\s|$)/i

/** `%` is any text, `_` any character. */
const like = (pattern: string, flags: string) =>
  new RegExp(
    `^${pattern
      .replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      .replaceAll('%', '.*')
      .replaceAll('_', '.')}$`,
    `${flags}s`,
  )

type Test = (of: Searched) => boolean

/** A filter as MLflow's clients write it, conditions joined by `and`; throws BAD_REQUEST. */
export function parseFilter(filter = ''): Test {
  if (filter.length > 5_000) throw bad(filter)
  const tests: Test[] = []
  for (let rest = filter; rest.trim() !== ''; ) {
    const found = CONDITION.exec(rest)
    if (!found) throw bad(rest)
    const [whole, kind = '', quoted, doubled, bare, operator, operand] = found
    const name = quoted ?? doubled ?? bare
    tests.push(conditionOf(kind.toLowerCase(), name, operator.trim().toLowerCase().replace(/\s+/g, ' '), operand))
    rest = rest.slice(whole.length)
  }
  return (of) => tests.every((test) => test(of))
}

function conditionOf(kind: string, name: string, operator: string, operand: string): Test {
  const value = (of: Searched): string | number | undefined => {
    if (kind.startsWith('metric')) return of.metrics?.[name]
    if (kind.startsWith('param')) return of.params?.[name]
    if (kind.startsWith('tag')) return of.tags?.[name]
    return of.fields[name.toLowerCase().replaceAll(' ', '_')]
  }
  const text = /^['"]/.test(operand) ? operand.slice(1, -1) : operand
  if (operator.endsWith('like')) {
    const pattern = like(text, operator.includes('ilike') ? 'i' : '')
    const wanted = !operator.startsWith('not')
    return (of) => value(of) !== undefined && pattern.test(String(value(of))) === wanted
  }
  if (operator.endsWith('in')) {
    const list = [...operand.matchAll(/'([^']*)'/g)].map(([, one]) => one)
    const wanted = !operator.startsWith('not')
    return (of) => value(of) !== undefined && list.includes(String(value(of))) === wanted
  }
  const compare: Record<string, (a: string | number, b: string | number) => boolean> = {
    '=': (a, b) => a === b,
    '!=': (a, b) => a !== b,
    '>': (a, b) => a > b,
    '>=': (a, b) => a >= b,
    '<': (a, b) => a < b,
    '<=': (a, b) => a <= b,
  }
  return (of) => {
    const found = value(of)
    // a tag that is not there differs from every value
    if (found === undefined) return operator === '!=' && kind.startsWith('tag')
    return compare[operator](found, typeof found === 'number' ? Number(text) : text)
  }
}

/** A page of a list: `page_token` is where it begins. */
export function paged<T>(all: readonly T[], { max = 100, token = '' }: { max?: number; token?: string }) {
  const start = /^\d{1,9}$/.test(token) ? Number(token) : 0
  const next = start + max
  return { items: all.slice(start, next), ...(next < all.length && { next_page_token: String(next) }) }
}
