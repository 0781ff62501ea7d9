import type { Generated } from 'kysely'

/** Models, versions and their files; what search reads of them; who is told of changes. */
export interface RegistryTables {
  /** `card` is what people wrote about a model (src/registry/card.ts). */
  models: { name: string; created_at: string; last_version: number; card: Generated<string | null> }
  /** `deleted_at` tells that a version is deleted but still kept. */
  versions: {
    model: string
    version: number
    manifest: string
    created_at: string
    deleted_at: Generated<string | null>
  }
  /** The versions that a version was made from. */
  version_sources: { model: string; version: number; source_model: string; source_version: number }
  version_files: { model: string; version: number; name: string; digest: string; bytes: number }
  aliases: { model: string; alias: string; version: number }
  /** Tags of a version, or with version 0 of a model. */
  tags: { model: string; version: number; name: string; value: string }
  /** What search answers of the newest version of each model; made anew with every change of the model. */
  search_models: {
    id: Generated<number>
    model: string
    version: number
    versions: number
    task: string
    family: string
    bytes: number
    updated_at: string
    metrics: string
    description: string | null
  }
  search_terms: { term: string; entry: number; weight: number }
  search_facets: { kind: string; value: string; entry: number }
  search_metrics: { name: string; entry: number; value: number }
  /** One row; its number grows with every change of the registry, by whichever process. */
  registry_state: { id: number; revision: number }
  webhooks: { id: string; url: string; secret: string; events: string; created_at: string }
  webhook_deliveries: {
    id: Generated<number>
    webhook: string
    event: string
    body: string
    attempts: number
    /** Milliseconds since 1970. */
    next_at: number
  }
}
