import type { Insertable, Kysely, Transaction } from 'kysely'
import type { Manifest } from '../bundle/manifest.ts'
import type { Schema } from '../store/schema.ts'
import { type Card, languagesOf } from './card.ts'
import { storeSources } from './lineage.ts'
import { termsOf } from './terms.ts'

/** How much a term counts by where it stands: in the name, in short fields, in prose. */
const [NAME, FIELD, PROSE] = [8, 3, 1]
/** Rows of one statement. */
const ROWS = 500

type Parts = 'search_terms' | 'search_facets' | 'search_metrics'

/** Makes what search knows of a model anew from its newest version that is not deleted; without one, nothing. */
export async function indexModel(tx: Transaction<Schema>, model: string) {
  await tx.deleteFrom('search_models').where('model', '=', model).execute() // and what belongs to it
  const live = tx.selectFrom('versions').where('model', '=', model).where('deleted_at', 'is', null)
  const newest = await live.selectAll().orderBy('version', 'desc').executeTakeFirst()
  if (!newest) return
  const { version, created_at } = newest
  const [{ count }, size, { card }, tagRows, aliases] = await Promise.all([
    live.select((e) => e.fn.countAll<number>().as('count')).executeTakeFirstOrThrow(),
    tx
      .selectFrom('version_files')
      .select((e) => e.fn.sum<number>('bytes').as('bytes'))
      .where('model', '=', model)
      .where('version', '=', version)
      .executeTakeFirst(),
    tx.selectFrom('models').select('card').where('name', '=', model).executeTakeFirstOrThrow(),
    tx
      .selectFrom('tags')
      .select(['name', 'value'])
      .where('model', '=', model)
      .where('version', 'in', [0, version])
      .execute(),
    tx.selectFrom('aliases').select('alias').where('model', '=', model).execute(),
  ])
  const manifest = JSON.parse(newest.manifest) as Manifest
  const written = card === null ? {} : (JSON.parse(card) as Card)
  const tags = new Map(tagRows.map(({ name, value }) => [name, value]))
  const { task, family, labels, metrics, lineage } = manifest
  const description = written.description ?? manifest.description
  const { id: entry } = await tx
    .insertInto('search_models')
    .values({
      model,
      version,
      versions: count,
      task,
      family,
      bytes: Number(size?.bytes ?? 0),
      updated_at: created_at,
      metrics: JSON.stringify(metrics),
      description: description ?? null,
    })
    .returning('id')
    .executeTakeFirstOrThrow()

  const languages = written.languages ?? languagesOf(manifest)
  const facets: [kind: string, value: string | undefined][] = [
    ['task', task],
    ['family', family],
    ['licence', written.licence],
    ...languages.map((value): [string, string] => ['language', value]),
    ...[...tags].map(([name, value]): [string, string] => ['tag', value === '' ? name : `${name}=${value}`]),
  ]
  await insertAll(
    tx,
    'search_facets',
    facets.flatMap(([kind, value]) => (value === undefined ? [] : [{ kind, value, entry }])),
  )
  await insertAll(
    tx,
    'search_metrics',
    Object.entries(metrics).map(([name, value]) => ({ name, value, entry })),
  )

  const fields = [task, family, description, ...labels, ...tags.keys(), ...tags.values(), ...languages]
  const texts: [number, string][] = [
    [PROSE, [written.text, written.limits, written.uses, written.dataNotes, lineage.dataset?.source].join('\n')],
    [FIELD, [...fields, written.licence, written.contact, ...aliases.map(({ alias }) => alias)].join('\n')],
    [NAME, model],
  ]
  const weights = new Map<string, number>()
  for (const [weight, text] of texts) for (const term of termsOf(text)) weights.set(term, weight)
  await insertAll(
    tx,
    'search_terms',
    [...weights].map(([term, weight]) => ({ term, weight, entry })),
  )
}

/** As `indexModel`, with the sources of their versions, for models that were registered before there was a search. */
export async function indexMissing(db: Kysely<Schema>) {
  const missing = await db
    .selectFrom('versions')
    .select('model')
    .distinct()
    .where('deleted_at', 'is', null)
    .where('model', 'not in', db.selectFrom('search_models').select('model'))
    .execute()
  for (const { model } of missing) {
    await db.transaction().execute(async (tx) => {
      await indexModel(tx, model)
      const rows = await tx.selectFrom('versions').selectAll().where('model', '=', model).execute()
      for (const { version, manifest } of rows) await storeSources(tx, model, version, JSON.parse(manifest) as Manifest)
    })
  }
}

async function insertAll<T extends Parts>(tx: Transaction<Schema>, table: T, rows: readonly Insertable<Schema[T]>[]) {
  for (let at = 0; at < rows.length; at += ROWS)
    await tx
      .insertInto(table)
      .values(rows.slice(at, at + ROWS) as never)
      .execute()
}
