import type { Kysely } from 'kysely'
import { fail } from '../base/errors.ts'
import type { Schema } from '../store/schema.ts'

/** What is set, and what is removed (`null`), of the tags of a model or version. */
type Tags = Readonly<Record<string, string | null>>

/** Throws BAD_REQUEST for tags that are too long. */
export function checkTags(tags: Tags) {
  for (const [tag, value] of Object.entries(tags))
    if (tag === '' || tag.length > 250 || (value?.length ?? 0) > 5_000)
      throw fail('BAD_REQUEST', { message: 'a tag has a name of 1 to 250 and a value of at most 5,000 characters' })
}

/** Tags of a version of a model, or of the model itself: version 0. */
export async function tagsOf(db: Kysely<Schema>, model: string, version: number): Promise<Record<string, string>> {
  const rows = await db
    .selectFrom('tags')
    .select(['name', 'value'])
    .where('model', '=', model)
    .where('version', '=', version)
    .orderBy('name')
    .execute()
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]))
}

export async function writeTags(db: Kysely<Schema>, model: string, version: number, tags: Tags) {
  for (const [name, value] of Object.entries(tags)) {
    if (value === null)
      await db
        .deleteFrom('tags')
        .where('model', '=', model)
        .where('version', '=', version)
        .where('name', '=', name)
        .execute()
    else
      await db
        .insertInto('tags')
        .values({ model, version, name, value })
        .onConflict((c) => c.columns(['model', 'version', 'name']).doUpdateSet({ value }))
        .execute()
  }
}
