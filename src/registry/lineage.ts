import type { Kysely, Transaction } from 'kysely'
import type { Manifest } from '../bundle/manifest.ts'
import type { Schema } from '../store/schema.ts'

export interface LineageNode {
  id: string
  kind: 'data' | 'run' | 'version' | 'deployment' | 'requests' | 'feedback'
  title: string
  /** What there is to say of it: figures, states, digests. */
  about: Record<string, string | number>
}

export interface LineageGraph {
  nodes: LineageNode[]
  edges: { from: string; to: string }[]
  /** Whether there is more than is told. */
  cut: boolean
}

/** How a version is used: requests and rows that are kept, and how many were labelled, and right. */
export interface Usage {
  version: number
  requests: number
  rows: number
  labelled: number
  right: number
}

/** Models that are followed from one, and versions of each. */
const MODELS = 50
const VERSIONS = 100

interface Row {
  model: string
  version: number
  manifest: string
  deleted_at: string | null
}

/** The versions that a version was made from: trained on from, or refined. */
function sourcesOf({ lineage }: Pick<Manifest, 'lineage'>): { model: string; version: number }[] {
  const [, model, version] = /^([a-z0-9][a-z0-9._-]*)@(\d+)$/.exec(lineage.parent ?? '') ?? []
  return [
    ...(model === undefined ? [] : [{ model, version: Number(version) }]),
    ...(lineage.refinedFrom ? [lineage.refinedFrom] : []),
  ]
}

/** Stores what a version was made from, so that it is found from there too. */
export async function storeSources(tx: Transaction<Schema>, model: string, version: number, manifest: Manifest) {
  const rows = sourcesOf(manifest).map((source) => ({
    model,
    version,
    source_model: source.model,
    source_version: source.version,
  }))
  if (rows.length === 0) return
  await tx
    .insertInto('version_sources')
    .values(rows)
    .onConflict((c) => c.doNothing())
    .execute()
}

/** How the versions of a model are used, as far as answers are kept. */
export async function usageOf(db: Kysely<Schema>, model: string): Promise<Usage[]> {
  const answered = await db
    .selectFrom('answers')
    .where('model', '=', model)
    .select((e) => ['version', e.fn.sum<number>('requests').as('requests'), e.fn.sum<number>('rows').as('rows')])
    .groupBy('version')
    .orderBy('version')
    .execute()
  const labelled = await db
    .selectFrom('predictions as p')
    .innerJoin('feedback as f', (join) => join.onRef('f.request_id', '=', 'p.request_id').onRef('f.row', '=', 'p.row'))
    .where('p.model', '=', model)
    .select((e) => [
      'p.version',
      e.fn.countAll<number>().as('labelled'),
      e.fn.sum<number>(e.case().whenRef('p.label', '=', 'f.label').then(1).else(0).end()).as('right'),
    ])
    .groupBy('p.version')
    .execute()
  return answered.map(({ version, requests, rows }) => {
    const { labelled: told = 0, right = 0 } = labelled.find((one) => one.version === version) ?? {}
    return { version, requests: Number(requests), rows: Number(rows), labelled: told, right: Number(right) }
  })
}

/**
 * What a model came from and what became of it: data → run → version → refined version → deployment → requests →
 * feedback → data of the next run. Other models are followed as far as versions were made from each other. `served` are
 * the versions that have an engine; models that `sees` does not allow are left out.
 */
export async function lineageOf(
  db: Kysely<Schema>,
  name: string,
  served: readonly { model: string; version: number; requests: number }[],
  sees: (model: string) => boolean,
): Promise<LineageGraph> {
  const graph = new Graph(sees)
  const seen = new Set([name])
  let cut = false
  for (const model of seen) {
    const rows: Row[] = await db
      .selectFrom('versions')
      .select(['model', 'version', 'manifest', 'deleted_at'])
      .where('model', '=', model)
      .orderBy('version', 'desc')
      .limit(VERSIONS + 1)
      .execute()
    cut ||= rows.length > VERSIONS
    for (const row of rows.slice(0, VERSIONS)) graph.addVersion(row)
    const near = (await neighbours(db, model)).filter(sees)
    for (const other of near) {
      if (seen.size < MODELS) seen.add(other)
      else cut ||= !seen.has(other)
    }
  }
  for (const model of seen) {
    await addRuns(db, graph, model)
    await addUse(db, graph, model, served)
  }
  return { ...graph.whole(), cut }
}

async function neighbours(db: Kysely<Schema>, model: string): Promise<string[]> {
  const rows = await db
    .selectFrom('version_sources')
    .select('source_model as other')
    .where('model', '=', model)
    .union(db.selectFrom('version_sources').select('model as other').where('source_model', '=', model))
    .execute()
  return rows.map(({ other }) => other)
}

/** Runs of a model that made no version. */
async function addRuns(db: Kysely<Schema>, graph: Graph, model: string) {
  const runs = await db
    .selectFrom('runs')
    .select(['run', 'state', 'spec'])
    .where('model', '=', model)
    .orderBy('created_at', 'desc')
    .limit(VERSIONS)
    .execute()
  for (const { run, state, spec } of runs) {
    graph.add({ id: `run:${run}`, kind: 'run', title: run, about: { state } })
    const { dataset } = JSON.parse(spec) as { dataset?: string }
    if (dataset === undefined) continue
    const stored = await db.selectFrom('datasets').selectAll().where('id', '=', dataset).executeTakeFirst()
    if (stored) graph.connect(graph.addData(stored.digest, stored.filename), `run:${run}`)
  }
}

async function addUse(
  db: Kysely<Schema>,
  graph: Graph,
  model: string,
  served: readonly { model: string; version: number; requests: number }[],
) {
  const usage = await usageOf(db, model)
  const aliases = await db.selectFrom('aliases').selectAll().where('model', '=', model).execute()
  const versions = new Set([
    ...usage.map(({ version }) => version),
    ...aliases.map(({ version }) => version),
    ...served.filter((one) => one.model === model).map(({ version }) => version),
  ])
  const feedback: string[] = []
  for (const version of versions) {
    const ref = `${model}@${version}`
    if (!graph.has(`version:${ref}`)) continue
    const engine = served.find((one) => one.model === model && one.version === version)
    const names = aliases.filter((one) => one.version === version).map(({ alias }) => alias)
    const about = { state: engine ? 'loaded' : 'not loaded', ...(names.length > 0 && { aliases: names.join(', ') }) }
    const deployment = graph.add({ id: `deployment:${ref}`, kind: 'deployment', title: ref, about })
    graph.connect(`version:${ref}`, deployment)
    const used = usage.find((one) => one.version === version)
    const requests = Math.max(used?.requests ?? 0, engine?.requests ?? 0)
    if (requests === 0) continue
    const asked = graph.add({
      id: `requests:${ref}`,
      kind: 'requests',
      title: `${requests} requests`,
      about: { requests },
    })
    graph.connect(deployment, asked)
    if (!used || used.labelled === 0) continue
    const { labelled, right } = used
    const title = `${labelled} labelled`
    const told = graph.add({ id: `feedback:${ref}`, kind: 'feedback', title, about: { labelled, right } })
    graph.connect(asked, told)
    feedback.push(told)
  }
  const made = await db.selectFrom('datasets').selectAll().where('filename', '=', `${model}-feedback.jsonl`).execute()
  for (const { digest, filename } of made)
    for (const told of feedback) graph.connect(told, graph.addData(digest, filename))
}

class Graph {
  readonly #sees: (model: string) => boolean
  readonly #nodes = new Map<string, LineageNode>()
  readonly #edges = new Map<string, { from: string; to: string }>()

  constructor(sees: (model: string) => boolean) {
    this.#sees = sees
  }

  has(id: string) {
    return this.#nodes.has(id)
  }

  /** Adds a node unless there is one of its id, and returns the id. */
  add(node: LineageNode): string {
    const known = this.#nodes.get(node.id)
    if (known) Object.assign(known.about, node.about)
    else this.#nodes.set(node.id, node)
    return node.id
  }

  connect(from: string, to: string) {
    this.#edges.set(`${from} ${to}`, { from, to })
  }

  addData(digest: string, source: string, rows?: number): string {
    const about = { digest, ...(rows !== undefined && { rows }) }
    return this.add({ id: `data:${digest.slice(0, 16)}`, kind: 'data', title: source, about })
  }

  addVersion({ model, version, manifest: text, deleted_at }: Row) {
    const manifest = JSON.parse(text) as Manifest
    const { lineage, family, metrics } = manifest
    const title = `${model}@${version}`
    const about = {
      family,
      ...(metrics.accuracy !== undefined && { accuracy: metrics.accuracy }),
      ...(deleted_at !== null && { deleted: deleted_at }),
      ...(lineage.passes && { passes: lineage.passes.map(({ name }) => name).join(', ') }),
    }
    const id = this.add({ id: `version:${title}`, kind: 'version', title, about })
    const { run, dataset } = lineage
    const via = run === undefined ? id : this.add({ id: `run:${run}`, kind: 'run', title: run, about: {} })
    if (run !== undefined) this.connect(via, id)
    if (dataset) this.connect(this.addData(dataset.digest, dataset.source, dataset.rows), via)
    for (const source of sourcesOf(manifest).filter(({ model }) => this.#sees(model)))
      this.connect(`version:${source.model}@${source.version}`, via)
  }

  /** Nodes and edges; what an edge begins at and is not here any more is a node all the same. */
  whole(): { nodes: LineageNode[]; edges: { from: string; to: string }[] } {
    for (const { from } of this.#edges.values())
      if (!this.has(from))
        this.add({ id: from, kind: 'version', title: from.replace('version:', ''), about: { state: 'not here' } })
    return { nodes: [...this.#nodes.values()], edges: [...this.#edges.values()] }
  }
}
