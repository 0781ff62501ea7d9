import { type Http, modelPath } from './http.ts'
import type { ModelSummary } from './models.ts'
import type {
  Card,
  CardView,
  DeletedVersion,
  LineageGraph,
  ModelInfo,
  ModelPage,
  ModelQuery,
  Webhook,
} from './registry-types.ts'
import type { RunSpec } from './training.ts'

/** Calls of models as people look for them and keep them. */
export function registryCalls(http: Http) {
  const search = (query: ModelQuery = {}): Promise<ModelPage> => http.json('/api/models', { query: { ...query } })
  return {
    /** A page of the models that have all that is asked for, with facets of all that were found. */
    search,
    /** Every model that has all that is asked for. */
    list: async (query: Omit<ModelQuery, 'cursor'> = {}): Promise<ModelSummary[]> => {
      const all: ModelSummary[] = []
      for (let cursor: string | undefined; ; ) {
        const page = await search({ limit: 1000, ...query, ...(cursor && { cursor }) })
        all.push(...page.models)
        cursor = page.next
        if (!cursor) return all
      }
    },
    /** All there is to know of a model: card, interface, versions side by side, files, usage. */
    page: (model: string): Promise<ModelInfo> => http.json(`${modelPath(model)}/page`),
    card: (model: string): Promise<CardView> => http.json(`${modelPath(model)}/card`),
    /** Replaces a card by fields, or by Markdown with YAML before it. */
    setCard: (model: string, card: Card | string): Promise<{ card: Card }> =>
      http.json(`${modelPath(model)}/card`, {
        method: 'PUT',
        json: typeof card === 'string' ? { markdown: card } : { card },
      }),
    /** Registers the next version of an imported model, whose requests are compared with the rows of a data set. */
    compareWith: (
      model: string,
      dataset: string,
      read?: RunSpec['read'],
    ): Promise<{ model: string; version: number; rows: number }> =>
      http.json(`${modelPath(model)}/reference`, {
        method: 'POST',
        json: { dataset, ...(read && { read }) },
        timeout: 0,
      }),
    lineage: (model: string): Promise<LineageGraph> => http.json(`${modelPath(model)}/lineage`),
    /** Sets tags of a model, or of a version; `null` removes one. */
    setTags: (
      model: string,
      tags: Readonly<Record<string, string | null>>,
      version?: number,
    ): Promise<{ tags: Record<string, string> }> =>
      http.json(`${modelPath(model)}/tags`, {
        method: 'PUT',
        json: { tags, ...(version !== undefined && { version }) },
      }),
    /** Deleted versions that can be restored. */
    deleted: async (): Promise<DeletedVersion[]> =>
      (await http.json<{ deleted: DeletedVersion[] }>('/api/deleted')).deleted,
    restore: (model: string): Promise<{ model: string; versions: number[] }> =>
      http.json(`${modelPath(model)}/restore`, { method: 'POST' }),
  }
}

/** Calls of the registry as a whole. */
export function storeCalls(http: Http) {
  return {
    /**
     * Purges what was deleted, and what failed runs keep, `days` ago (by default as the server is configured), and files that
     * nothing refers to.
     */
    collectGarbage: (days?: number): Promise<{ versions: number; runs: number; blobs: number; bytes: number }> =>
      http.json('/api/gc', { method: 'POST', json: days === undefined ? {} : { days }, timeout: 0 }),

    webhooks: async (): Promise<Webhook[]> => (await http.json<{ webhooks: Webhook[] }>('/api/webhooks')).webhooks,
    /** The secret that messages are signed with is told only here. */
    addWebhook: (url: string, events: readonly string[] = []): Promise<Webhook & { secret: string }> =>
      http.json('/api/webhooks', { method: 'POST', json: { url, events } }),
    removeWebhook: (id: string): Promise<void> =>
      http.json(`/api/webhooks/${encodeURIComponent(id)}`, { method: 'DELETE' }),
  }
}
