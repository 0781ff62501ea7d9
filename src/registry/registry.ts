import { createReadStream } from 'node:fs'
import type { Transaction } from 'kysely'
import { AthanorError, fail } from '../base/errors.ts'
import { checkName, parseModelRef } from '../base/ids.ts'
import { suggest } from '../base/suggest.ts'
import { checkManifest, requiredFiles } from '../bundle/bundle.ts'
import type { BundleFile, Manifest } from '../bundle/manifest.ts'
import type { Schema } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { type Card, checkCard } from './card.ts'
import { announce, type Change } from './changes.ts'
import { type Compared, compareVersions } from './compare.ts'
import { indexMissing, indexModel } from './entries.ts'
import { type LineageGraph, lineageOf, storeSources, type Usage, usageOf } from './lineage.ts'
import { collect, type Deleted, deletedVersions, type Retained } from './retention.ts'
import { allModels, type ModelSummary, type SearchPage, type SearchQuery, searchModels } from './search.ts'
import { checkTags, tagsOf, writeTags } from './tags.ts'

/** An immutable version of a model. */
export interface Version {
  name: string
  version: number
  manifest: Manifest
  files: BundleFile[]
  createdAt: string
}

/** Versions remembered for when the database cannot be asked. */
const REMEMBERED = 10_000

/** Models, versions and aliases. A version is visible only when all of its files are durable. */
export class Registry {
  readonly #store: Store
  readonly #remembered = new Map<string, Version>()
  /** Told of every change of versions or aliases. */
  onChange: () => void = () => {}

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Registers the next version of a model, from files on disk or in memory. The blobs are written first; one
   * transaction then makes the version visible, together with what `within` does in it: if that throws, nothing is
   * registered. Throws NAME_INVALID, BUNDLE_INVALID, DISK_FULL or STORAGE_UNAVAILABLE.
   */
  async register(
    name: string,
    manifest: Manifest,
    files: Record<string, string | Uint8Array>,
    within: (tx: Transaction<Schema>, version: number) => Promise<void> = async () => {},
  ): Promise<Version> {
    checkName(name)
    checkManifest(manifest)
    const missing = requiredFiles(manifest).filter((file) => !(file in files))
    if (missing.length > 0) throw fail('BUNDLE_INVALID', { reason: `${missing.join(', ')} missing` })
    const stored: BundleFile[] = []
    try {
      for (const [file, content] of Object.entries(files)) {
        const pieces =
          typeof content === 'string' ? (createReadStream(content) as AsyncIterable<Uint8Array>) : [content]
        stored.push({ name: file, ...(await this.#store.blobs.put(pieces)) })
      }
      const createdAt = new Date().toISOString()
      const version = await this.#change(name, async (tx) => {
        await tx
          .insertInto('models')
          .values({ name, created_at: createdAt, last_version: 0 })
          .onConflict((c) => c.doNothing())
          .execute()
        const { last_version } = await tx
          .updateTable('models')
          .set((e) => ({ last_version: e('last_version', '+', 1) }))
          .where('name', '=', name)
          .returning('last_version')
          .executeTakeFirstOrThrow()
        await tx
          .insertInto('versions')
          .values({ model: name, version: last_version, manifest: JSON.stringify(manifest), created_at: createdAt })
          .execute()
        const rows = stored.map(({ name: file, digest, bytes }) => ({
          model: name,
          version: last_version,
          name: file,
          digest,
          bytes,
        }))
        if (rows.length > 0) await tx.insertInto('version_files').values(rows).execute()
        await storeSources(tx, name, last_version, manifest)
        await within(tx, last_version)
        return { result: last_version, changes: [{ event: 'version.registered', model: name, version: last_version }] }
      })
      return { name, version, manifest, files: stored, createdAt }
    } finally {
      this.#store.blobs.settle(stored.map(({ digest }) => digest))
    }
  }

  /** Does something to a model in one transaction, with what follows from it: search, other processes, webhooks. */
  async #change<T>(
    model: string,
    work: (tx: Transaction<Schema>) => Promise<{ result: T; changes: Change[] }>,
  ): Promise<T> {
    const result = await this.#store.db.transaction().execute(async (tx) => {
      const { result, changes } = await work(tx)
      await indexModel(tx, model)
      await announce(tx, changes)
      return result
    })
    this.onChange()
    return result
  }

  /**
   * The version that `name`, `name@3` or `name@alias` means; throws MODEL_NOT_FOUND or VERSION_NOT_FOUND. While the
   * database is away, what it meant when last asked.
   */
  async resolve(ref: string): Promise<Version> {
    try {
      const version = await this.#resolve(ref)
      if (this.#remembered.size >= REMEMBERED) this.#remembered.clear()
      this.#remembered.set(ref, version).set(`${version.name}@${version.version}`, version)
      return version
    } catch (error) {
      const away = error instanceof AthanorError && error.code === 'STORAGE_UNAVAILABLE'
      const known = away ? this.#remembered.get(ref) : undefined
      if (!away) this.#remembered.delete(ref)
      if (!known) throw error
      return known
    }
  }

  async #resolve(ref: string): Promise<Version> {
    const { name, version: wanted } = parseModelRef(ref)
    await this.#checkModel(name)
    const number = await this.#numberOf(name, wanted)
    const row = await this.#live(name).selectAll().where('version', '=', number).executeTakeFirst()
    if (!row) throw fail('VERSION_NOT_FOUND', { name, version: wanted ?? 'latest' })
    const files = await this.#store.db
      .selectFrom('version_files')
      .select(['name', 'digest', 'bytes'])
      .where('model', '=', name)
      .where('version', '=', number)
      .orderBy('name')
      .execute()
    return { name, version: number, manifest: JSON.parse(row.manifest) as Manifest, files, createdAt: row.created_at }
  }

  /** Versions of a model that are not deleted. */
  #live(name: string) {
    return this.#store.db.selectFrom('versions').where('model', '=', name).where('deleted_at', 'is', null)
  }

  async #checkModel(name: string) {
    const { db } = this.#store
    if (await this.#live(name).select('version').executeTakeFirst()) return
    const all = await db.selectFrom('search_models').select('model').execute()
    throw fail(
      'MODEL_NOT_FOUND',
      { name },
      {
        suggestion: suggest(
          name,
          all.map(({ model }) => model),
        ),
      },
    )
  }

  async #numberOf(name: string, wanted: string | undefined): Promise<number> {
    const { db } = this.#store
    if (wanted !== undefined && /^\d+$/.test(wanted)) return Number(wanted)
    if (wanted !== undefined && wanted !== 'latest') {
      const row = await db
        .selectFrom('aliases')
        .select('version')
        .where('model', '=', name)
        .where('alias', '=', wanted)
        .executeTakeFirst()
      if (!row) throw fail('VERSION_NOT_FOUND', { name, version: wanted })
      return row.version
    }
    const { version } = await this.#live(name)
      .select((e) => e.fn.max('version').as('version'))
      .executeTakeFirstOrThrow()
    return Number(version)
  }

  /** All versions of a model, newest first. */
  async versions(name: string): Promise<Omit<Version, 'files'>[]> {
    await this.#checkModel(name)
    const rows = await this.#live(name).selectAll().orderBy('version', 'desc').execute()
    return rows.map((row) => ({
      name,
      version: row.version,
      manifest: JSON.parse(row.manifest) as Manifest,
      createdAt: row.created_at,
    }))
  }

  async aliases(name: string): Promise<Record<string, number>> {
    const rows = await this.#store.db
      .selectFrom('aliases')
      .selectAll()
      .where('model', '=', name)
      .orderBy('alias')
      .execute()
    return Object.fromEntries(rows.map(({ alias, version }) => [alias, version]))
  }

  /** Every model, or every model of a task, most recent first. */
  list(filter: { task?: string } = {}): Promise<ModelSummary[]> {
    return allModels(this.#store.db, filter)
  }

  /** How many models there are. */
  async count(): Promise<number> {
    const { count } = await this.#store.db
      .selectFrom('search_models')
      .select((e) => e.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow()
    return count
  }

  /** Models found by words, facets and figures, a page of them; throws BAD_REQUEST. */
  search(query: SearchQuery): Promise<SearchPage> {
    return searchModels(this.#store.db, query)
  }

  /** Makes search know of models that were registered before there was one. */
  indexMissing(): Promise<void> {
    return indexMissing(this.#store.db)
  }

  /** Versions of a model side by side, newest first. */
  async compare(name: string): Promise<Compared[]> {
    const sizes = await this.#store.db
      .selectFrom('version_files')
      .select((e) => ['version', e.fn.sum<number>('bytes').as('bytes')])
      .where('model', '=', name)
      .groupBy('version')
      .execute()
    const bytes = new Map(sizes.map((row) => [row.version, Number(row.bytes)]))
    const versions = await this.versions(name)
    return compareVersions(
      name,
      versions.map((one) => ({ ...one, bytes: bytes.get(one.version) ?? 0 })),
    )
  }

  /** How the versions of a model are used, as far as answers are kept. */
  usage(name: string): Promise<Usage[]> {
    return usageOf(this.#store.db, name)
  }

  /** What a model came from and what became of it; `served` have an engine, and only models that `sees` allows are told. */
  async lineage(
    name: string,
    served: readonly { model: string; version: number; requests: number }[] = [],
    sees: (model: string) => boolean = () => true,
  ): Promise<LineageGraph> {
    await this.#checkModel(name)
    return lineageOf(this.#store.db, name, served, sees)
  }

  /** What people wrote about a model. */
  async card(name: string): Promise<Card> {
    await this.#checkModel(name)
    const row = await this.#store.db.selectFrom('models').select('card').where('name', '=', name).executeTakeFirst()
    return row?.card ? (JSON.parse(row.card) as Card) : {}
  }

  /** Replaces the card of a model; throws CARD_INVALID. */
  async setCard(name: string, card: Card): Promise<void> {
    const checked = checkCard(card)
    await this.#checkModel(name)
    await this.#change(name, async (tx) => {
      await tx
        .updateTable('models')
        .set({ card: JSON.stringify(checked) })
        .where('name', '=', name)
        .execute()
      return { result: undefined, changes: [{ event: 'card.changed', model: name }] }
    })
  }

  /** Tags of a model, or of one version of it. */
  tags(name: string, version = 0): Promise<Record<string, string>> {
    return tagsOf(this.#store.db, name, version)
  }

  /** Sets tags of a model (version 0) or version; `null` removes one. Throws BAD_REQUEST. */
  async setTags(name: string, tags: Readonly<Record<string, string | null>>, version = 0): Promise<void> {
    checkTags(tags)
    await this.resolve(version === 0 ? name : `${name}@${version}`)
    await this.#change(name, async (tx) => {
      await writeTags(tx, name, version, tags)
      const change: Change = { event: 'tags.changed', model: name, ...(version > 0 && { version }) }
      return { result: undefined, changes: [change] }
    })
  }

  /** Deletes a model (`name`) or one version (`name@3`); it can be restored until it is purged. Numbers are never used again. */
  async delete(ref: string): Promise<void> {
    const { name, version: number } = await this.resolve(ref)
    const whole = !ref.includes('@')
    await this.#change(name, async (tx) => {
      let query = tx
        .updateTable('versions')
        .set({ deleted_at: new Date().toISOString() })
        .where('model', '=', name)
        .where('deleted_at', 'is', null)
      let aliases = tx.deleteFrom('aliases').where('model', '=', name)
      if (!whole) {
        query = query.where('version', '=', number)
        aliases = aliases.where('version', '=', number)
      }
      const gone = await query.returning('version').execute()
      await aliases.execute()
      const changes = gone.map(({ version }): Change => ({ event: 'version.deleted', model: name, version }))
      return { result: undefined, changes }
    })
  }

  /** Brings back what was deleted: a version, or all of a model's. Throws VERSION_NOT_FOUND. */
  async restore(ref: string): Promise<number[]> {
    const { name, version } = parseModelRef(ref)
    return this.#change(name, async (tx) => {
      let query = tx
        .updateTable('versions')
        .set({ deleted_at: null })
        .where('model', '=', name)
        .where('deleted_at', 'is not', null)
      if (version !== undefined) query = query.where('version', '=', Number(version) || 0)
      const back = (await query.returning('version').execute()).map((row) => row.version).sort((a, b) => a - b)
      if (back.length === 0) throw fail('VERSION_NOT_FOUND', { name, version: version ?? 'that was deleted' })
      return { result: back, changes: back.map((one) => ({ event: 'version.restored', model: name, version: one })) }
    })
  }

  /** Deleted versions that can be restored. */
  deleted(): Promise<Deleted[]> {
    return deletedVersions(this.#store.db)
  }

  async setAlias(name: string, alias: string, version: number): Promise<void> {
    checkName(alias)
    if (/^\d+$/.test(alias) || alias === 'latest') throw fail('NAME_INVALID', { name: alias })
    await this.resolve(`${name}@${version}`)
    await this.#change(name, async (tx) => {
      await tx
        .insertInto('aliases')
        .values({ model: name, alias, version })
        .onConflict((c) => c.columns(['model', 'alias']).doUpdateSet({ version }))
        .execute()
      return { result: undefined, changes: [{ event: 'alias.set', model: name, version, alias }] }
    })
  }

  async removeAlias(name: string, alias: string): Promise<void> {
    await this.#change(name, async (tx) => {
      const { numDeletedRows } = await tx
        .deleteFrom('aliases')
        .where('model', '=', name)
        .where('alias', '=', alias)
        .executeTakeFirst()
      if (Number(numDeletedRows) === 0) throw fail('VERSION_NOT_FOUND', { name, version: alias })
      return { result: undefined, changes: [{ event: 'alias.removed', model: name, alias }] }
    })
  }

  /** Paths of a version's files, each compared with its digest before its first use; throws BLOB_CORRUPT, or UNSUPPORTED for a pipeline. */
  async checkout({ files, manifest }: Version): Promise<Record<string, string>> {
    if (manifest.composition)
      throw fail('UNSUPPORTED', { what: 'this with a pipeline', instead: 'Use one of the models it is made of.' })
    const paths: Record<string, string> = {}
    for (const { name, digest } of files) paths[name] = await this.#store.blobs.verify(digest)
    return paths
  }

  /** Purges what was deleted more than `days` ago, and removes blobs that nothing refers to. */
  async collectGarbage({ days = Number.POSITIVE_INFINITY }: { days?: number } = {}): Promise<Retained> {
    const retained = await collect(this.#store, days)
    if (retained.versions > 0) this.onChange()
    return retained
  }
}
