import type { ModelSummary } from './models.ts'
import type { Metrics } from './types.ts'

export interface ModelQuery {
  /** Words that must all be found, each also as the beginning of a longer one. */
  search?: string
  task?: string
  family?: string
  language?: string
  licence?: string
  /** A tag, or tag=value. */
  tag?: string
  /** Bounds of figures, e.g. `accuracy>=0.9,size<=50MB`. */
  where?: string
  /** relevance, updated, name, size or a metric; with `-` before it, greatest first. */
  sort?: string
  limit?: number
  /** `next` of the page before. */
  cursor?: string
}

export interface ModelPage {
  models: ModelSummary[]
  /** How many there are on all pages. */
  total: number
  facets: Record<string, { value: string; count: number }[]>
  next?: string
}

/** What people write about a model; all of it is text. */
export interface Card {
  description?: string
  licence?: string
  languages?: string[]
  contact?: string
  uses?: string
  limits?: string
  dataNotes?: string
  /** Markdown. */
  text?: string
}

export interface CardView {
  model: string
  version: number
  card: Card
  tags: Record<string, string>
  /** The card with what is known of the version, as Markdown with YAML before it. */
  markdown: string
}

/** A version beside the others; what was not measured is absent. */
export interface ComparedVersion {
  version: number
  family: string
  metrics: Metrics
  parameters: number
  bytes: number
  latency?: number
  throughput?: number
  memory?: number
  madeBy: string
  createdAt: string
}

export interface ModelInfo extends CardView {
  task: string
  aliases: Record<string, number>
  interface: {
    inputs: { name: string; dtype: string; shape: number[]; image?: boolean }[]
    outputs: { name: string; dtype: string; shape: number[]; image?: boolean }[]
    route: string
    schema: Record<string, unknown>
    example: unknown
  }
  versions: ComparedVersion[]
  files: { name: string; digest: string; bytes: number }[]
  usage: { version: number; requests: number; rows: number; labelled: number; right: number }[]
}

export interface LineageGraph {
  nodes: { id: string; kind: string; title: string; about: Record<string, string | number> }[]
  edges: { from: string; to: string }[]
  cut: boolean
}

export interface DeletedVersion {
  model: string
  version: number
  deletedAt: string
}

export interface Webhook {
  id: string
  url: string
  events: string[]
  createdAt: string
  waiting?: number
}
