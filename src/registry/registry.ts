import { createReadStream } from 'node:fs'
import { sql } from 'kysely'
import { fail } from '../base/errors.ts'
import { checkName, parseModelRef } from '../base/ids.ts'
import { suggest } from '../base/suggest.ts'
import { checkManifest, requiredFiles } from '../bundle/bundle.ts'
import type { BundleFile, Manifest } from '../bundle/manifest.ts'
import type { Store } from '../store/store.ts'

/** An immutable version of a model. */
export interface Version {
  name: string
  version: number
  manifest: Manifest
  files: BundleFile[]
  createdAt: string
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
}

/** Models, versions and aliases. A version is visible only when all of its files are durable. */
export class Registry {
  readonly #store: Store
  /** Told of every change of versions or aliases. */
  onChange: () => void = () => {}

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Registers the next version of a model, from files on disk or in memory. The blobs are written first; one
   * transaction then makes the version visible. Throws NAME_INVALID, BUNDLE_INVALID or DISK_FULL.
   */
  async register(name: string, manifest: Manifest, files: Record<string, string | Uint8Array>): Promise<Version> {
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
      const version = await this.#store.db.transaction().execute(async (tx) => {
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
        return last_version
      })
      this.onChange()
      return { name, version, manifest, files: stored, createdAt }
    } finally {
      this.#store.blobs.settle(stored.map(({ digest }) => digest))
    }
  }

  /** The version that `name`, `name@3` or `name@alias` means; throws MODEL_NOT_FOUND or VERSION_NOT_FOUND. */
  async resolve(ref: string): Promise<Version> {
    const { name, version: wanted } = parseModelRef(ref)
    await this.#checkModel(name)
    const number = await this.#numberOf(name, wanted)
    const row = await this.#store.db
      .selectFrom('versions')
      .selectAll()
      .where('model', '=', name)
      .where('version', '=', number)
      .executeTakeFirst()
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

  async #checkModel(name: string) {
    const { db } = this.#store
    if (await db.selectFrom('versions').select('model').where('model', '=', name).executeTakeFirst()) return
    const all = await db.selectFrom('versions').select('model').distinct().execute()
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
    const { version } = await db
      .selectFrom('versions')
      .select((e) => e.fn.max('version').as('version'))
      .where('model', '=', name)
      .executeTakeFirstOrThrow()
    return Number(version)
  }

  /** All versions of a model, newest first. */
  async versions(name: string): Promise<Omit<Version, 'files'>[]> {
    await this.#checkModel(name)
    const rows = await this.#store.db
      .selectFrom('versions')
      .selectAll()
      .where('model', '=', name)
      .orderBy('version', 'desc')
      .execute()
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

  /** Models, most recent first; `search` words must all occur in name, family, labels or description of the latest version. */
  async list({ search, task }: { search?: string; task?: string } = {}): Promise<ModelSummary[]> {
    const { db } = this.#store
    const rows = await sql<{
      name: string
      version: number
      versions: number
      manifest: string
      updated: string
      bytes: number
    }>`
      select v.model as name, v.version as version, n.versions as versions, v.manifest as manifest, v.created_at as updated,
        (select coalesce(sum(bytes), 0) from version_files f where f.model = v.model and f.version = v.version) as bytes
      from versions v
      join (select model, max(version) as newest, count(*) as versions from versions group by model) n
        on n.model = v.model and n.newest = v.version
      order by v.created_at desc, v.model`.execute(db)
    const words = (search ?? '').toLowerCase().split(/\s+/).filter(Boolean)
    const models: ModelSummary[] = []
    for (const { name, version, versions, manifest: json, updated, bytes } of rows.rows) {
      const manifest = JSON.parse(json) as Manifest
      if (task && manifest.task !== task) continue
      const text = [name, manifest.task, manifest.family, manifest.description ?? '', ...manifest.labels]
        .join('\n')
        .toLowerCase()
      if (!words.every((word) => text.includes(word))) continue
      const { family, metrics } = manifest
      models.push({
        name,
        task: manifest.task,
        family,
        version,
        versions,
        aliases: await this.aliases(name),
        metrics,
        bytes,
        updatedAt: updated,
      })
    }
    return models
  }

  /** Deletes a model (`name`) or one version (`name@3`). Version numbers are never used again. */
  async delete(ref: string): Promise<void> {
    const { name, version } = parseModelRef(ref)
    const target = version === undefined ? undefined : (await this.resolve(ref)).version
    await this.#checkModel(name)
    let query = this.#store.db.deleteFrom('versions').where('model', '=', name)
    if (target !== undefined) query = query.where('version', '=', target)
    await query.execute()
    this.onChange()
    await this.collectGarbage()
  }

  async setAlias(name: string, alias: string, version: number): Promise<void> {
    checkName(alias)
    if (/^\d+$/.test(alias) || alias === 'latest') throw fail('NAME_INVALID', { name: alias })
    await this.resolve(`${name}@${version}`)
    await this.#store.db
      .insertInto('aliases')
      .values({ model: name, alias, version })
      .onConflict((c) => c.columns(['model', 'alias']).doUpdateSet({ version }))
      .execute()
    this.onChange()
  }

  async removeAlias(name: string, alias: string): Promise<void> {
    const { numDeletedRows } = await this.#store.db
      .deleteFrom('aliases')
      .where('model', '=', name)
      .where('alias', '=', alias)
      .executeTakeFirst()
    if (Number(numDeletedRows) === 0) throw fail('VERSION_NOT_FOUND', { name, version: alias })
    this.onChange()
  }

  /** Paths of a version's files, each compared with its digest before its first use; throws BLOB_CORRUPT, or UNSUPPORTED for a pipeline. */
  async checkout({ files, manifest }: Version): Promise<Record<string, string>> {
    if (manifest.composition)
      throw fail('UNSUPPORTED', { what: 'this with a pipeline', instead: 'Use one of the models it is made of.' })
    const paths: Record<string, string> = {}
    for (const { name, digest } of files) paths[name] = await this.#store.blobs.verify(digest)
    return paths
  }

  /** Removes blobs that no version and no data set refers to. */
  async collectGarbage(): Promise<number> {
    const { db, blobs } = this.#store
    const used = await db
      .selectFrom('version_files')
      .select('digest')
      .union(db.selectFrom('datasets').select('digest'))
      .execute()
    return blobs.sweep(new Set(used.map(({ digest }) => digest)))
  }
}
