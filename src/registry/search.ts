import { type Kysely, type RawBuilder, type Selectable, sql } from 'kysely'
import { fail } from '../base/errors.ts'
import type { Schema } from '../store/schema.ts'
import { wantedTerms } from './terms.ts'

export interface SearchQuery {
  /** Words that must all be found; each also as the beginning of a longer one. */
  search?: string
  task?: string
  family?: string
  language?: string
  licence?: string
  /** `name` of a tag without value, or `name=value`. */
  tag?: string
  /** Bounds of metrics and of `size` in bytes, e.g. `accuracy>=0.9,size<=50MB`. */
  where?: string
  /** `relevance`, `updated`, `name`, `size` or a metric; with `-` before it, greatest first. */
  sort?: string
  limit?: number
  /** Only models whose names are among these; `*` stands for anything. */
  among?: readonly string[]
  /** `next` of the page before. */
  cursor?: string
}

/** A line of the list of models; figures are those of the latest version. */
export interface ModelSummary {
  name: string
  task: string
  family: string
  version: number
  versions: number
  aliases: Record<string, number>
  metrics: Record<string, number>
  bytes: number
  updatedAt: string
  description?: string
}

export interface SearchPage {
  models: ModelSummary[]
  /** How many there are on all pages. */
  total: number
  /** Of all that were found: how many have which task, family, language, licence and tag. */
  facets: Record<string, { value: string; count: number }[]>
  next?: string
}

type Entry = Selectable<Schema['search_models']>

/** Values of a facet that are told, the most frequent first. */
const FACET_VALUES = 30
const filters = ['task', 'family', 'language', 'licence', 'tag'] as const
const columns: Partial<Record<string, string>> = { updated: 's.updated_at', name: 's.model', size: 's.bytes' }
const units: Record<string, number> = { '': 1, KB: 1e3, MB: 1e6, GB: 1e9 }

const bad = (message: string) => fail('BAD_REQUEST', { message })

interface Bound {
  name: string
  operator: '>=' | '<='
  value: number
}

/** `accuracy>=0.9,size<=50MB`; throws BAD_REQUEST. */
function parseBounds(text: string): Bound[] {
  return text.split(',').map((one) => {
    const found = /^\s*([\w.-]{1,80})\s*(>=|<=)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*(KB|MB|GB)?\s*$/i.exec(one)
    if (!found) throw bad(`where: expected e.g. accuracy>=0.9 or size<=50MB, got "${one.slice(0, 80)}"`)
    const [, name, operator, number, unit = ''] = found
    return { name, operator: operator as Bound['operator'], value: Number(number) * units[unit.toUpperCase()] }
  })
}

/** Models that have all that is asked for, a page of them; throws BAD_REQUEST. */
export async function searchModels(db: Kysely<Schema>, query: SearchQuery): Promise<SearchPage> {
  const words = wantedTerms(query.search ?? '')
  if (query.search?.trim() && words.length === 0) return { models: [], total: 0, facets: {} }
  const sort = query.sort ?? (words.length > 0 ? '-relevance' : '-updated')
  const [key, descending] = sort.startsWith('-') ? [sort.slice(1), true] : [sort, false]
  const column = key === 'relevance' ? (words.length > 0 ? 'w.score' : 's.updated_at') : columns[key]
  const rank = sql.ref(column ?? 'm.value')

  const metric = column === undefined ? sql`join search_metrics m on m.entry = s.id and m.name = ${key}` : sql``
  const scored = words.length > 0 ? sql`join (${scores(words)}) w on w.entry = s.id` : sql``
  const conditions = [...filtersOf(query)]
  const limit = query.limit ?? 50
  const after = query.cursor === undefined ? [] : [following(readCursor(query.cursor, sort), rank, descending)]

  const [{ rows: values }, { rows: page }] = await Promise.all([
    sql<{ kind: string; value: string; count: number }>`
      select kind, value, count(*) as count from search_facets
      ${where([...containing(words), ...within(metric, column === undefined, conditions)])}
      group by kind, value order by count desc, value`.execute(db),
    sql<Entry & { rank: string | number }>`
      select s.*, ${rank} as rank from search_models s ${scored} ${metric} ${where([...conditions, ...after])}
      order by rank ${descending ? sql`desc` : sql`asc`}, s.model limit ${limit + 1}`.execute(db),
  ])
  const shown = page.slice(0, limit)
  const facets: SearchPage['facets'] = {}
  for (const { kind, value, count } of values) {
    facets[kind] ??= []
    if (facets[kind].length < FACET_VALUES) facets[kind].push({ value, count })
  }
  const last = shown.at(-1)
  return {
    models: await summaries(db, shown),
    total: values.reduce((sum, { kind, count }) => (kind === 'task' ? sum + count : sum), 0), // each model has one
    facets,
    ...(last && page.length > limit && { next: writeCursor(sort, last.rank, last.model) }),
  }
}

/** Every model, or every model of a task, newest first. */
export async function allModels(db: Kysely<Schema>, { task }: { task?: string } = {}): Promise<ModelSummary[]> {
  let query = db.selectFrom('search_models').selectAll().orderBy('updated_at', 'desc').orderBy('model')
  if (task !== undefined) query = query.where('task', '=', task)
  return summaries(db, await query.execute())
}

type Condition = RawBuilder<unknown>

const where = (conditions: readonly Condition[]) =>
  conditions.length > 0 ? sql`where ${sql.join(conditions, sql` and `)}` : sql``

const beginning = (word: string) => sql`term >= ${word} and term < ${`${word}\u{10ffff}`}`

/**
 * That an entry has a term beginning with each word. The plus keeps SQLite from looking facets up entry by entry: reading
 * all of them in the order that they are counted in takes a third of the time where many are found.
 */
const containing = (words: readonly string[]): Condition[] =>
  words.map((word) => sql`+entry in (select entry from search_terms where ${beginning(word)})`)

/** That an entry is of a model with what else is asked for; nothing where nothing is. */
const within = (metric: Condition, needed: boolean, conditions: readonly Condition[]): Condition[] =>
  needed || conditions.length > 0
    ? [sql`+entry in (select s.id from search_models s ${metric} ${where(conditions)})`]
    : []

/** Models that have a term beginning with each word, and how well: where it stands, twice as much for the whole word. */
function scores(words: readonly string[]) {
  const each = words.map(
    (word) => sql`select entry, max(case when term = ${word} then 2 * weight else weight end) as weight
      from search_terms where ${beginning(word)} group by entry`,
  )
  if (words.length === 1) return sql`select entry, weight as score from (${each[0]}) found`
  return sql`select entry, sum(weight) as score from (${sql.join(each, sql` union all `)}) found
    group by entry having count(*) = ${words.length}`
}

function* filtersOf(query: SearchQuery): Generator<RawBuilder<unknown>> {
  if (query.among) {
    const patterns = query.among.map((name) => name.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%'))
    const each = patterns.map((pattern) => sql`s.model like ${pattern} escape '\\'`)
    yield each.length > 0 ? sql`(${sql.join(each, sql` or `)})` : sql`1 = 0`
  }
  for (const kind of filters) {
    const value = query[kind]
    if (value !== undefined)
      yield sql`s.id in (select entry from search_facets where kind = ${kind} and value = ${value})`
  }
  for (const { name, operator, value } of query.where ? parseBounds(query.where) : []) {
    const bound = operator === '>=' ? sql`>= ${value}` : sql`<= ${value}`
    yield name === 'size'
      ? sql`s.bytes ${bound}`
      : sql`s.id in (select entry from search_metrics where name = ${name} and value ${bound})`
  }
}

async function summaries(db: Kysely<Schema>, rows: readonly Entry[]): Promise<ModelSummary[]> {
  if (rows.length === 0) return []
  let query = db.selectFrom('aliases').selectAll().orderBy('alias')
  if (rows.length <= 1000)
    query = query.where(
      'model',
      'in',
      rows.map(({ model }) => model),
    )
  const aliases = new Map<string, Record<string, number>>()
  for (const { model, alias, version } of await query.execute())
    aliases.set(model, { ...aliases.get(model), [alias]: version })
  return rows.map(({ model, version, versions, task, family, bytes, updated_at, metrics, description }) => ({
    name: model,
    task,
    family,
    version,
    versions,
    aliases: aliases.get(model) ?? {},
    metrics: JSON.parse(metrics) as Record<string, number>,
    bytes,
    updatedAt: updated_at,
    ...(description !== null && { description }),
  }))
}

interface Cursor {
  rank: string | number
  model: string
}

const following = ({ rank, model }: Cursor, column: RawBuilder<unknown>, descending: boolean) =>
  sql`(${column} ${descending ? sql`<` : sql`>`} ${rank} or (${column} = ${rank} and s.model > ${model}))`

const writeCursor = (sort: string, rank: string | number, model: string) =>
  Buffer.from(JSON.stringify([sort, rank, model])).toString('base64url')

/** A cursor means something only for the order it was made in; throws BAD_REQUEST. */
function readCursor(text: string, sort: string): Cursor {
  try {
    const [made, rank, model] = JSON.parse(Buffer.from(text, 'base64url').toString()) as unknown[]
    const known = typeof rank === 'string' || typeof rank === 'number'
    if (made === sort && known && typeof model === 'string') return { rank, model }
  } catch {
    // told below
  }
  throw bad('cursor: not one of this search')
}
