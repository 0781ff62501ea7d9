import { createRequire } from 'node:module'
import type * as Value from 'typebox/value'
import type * as Yaml from 'yaml'
import { fail } from '../base/errors.ts'
import { type Static, Type } from '../base/schema.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Version } from './registry.ts'

const require = createRequire(import.meta.url)

/** Largest card, in UTF-16 units. */
const CARD_LIMIT = 64 << 10

const line = (maxLength: number) => Type.Optional(Type.String({ maxLength, pattern: '^[^\\u0000-\\u001f\\u007f]*$' }))
const prose = (maxLength: number) => Type.Optional(Type.String({ maxLength }))

/** What people write about a model; all of it is text, and is shown as text. */
export const Card = Type.Object(
  {
    description: line(500),
    /** An SPDX identifier where there is one. */
    licence: line(100),
    /** BCP 47 tags. */
    languages: Type.Optional(
      Type.Array(Type.String({ pattern: '^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*$', maxLength: 35 }), { maxItems: 50 }),
    ),
    contact: line(200),
    uses: prose(4_000),
    limits: prose(4_000),
    dataNotes: prose(4_000),
    /** Markdown. */
    text: prose(CARD_LIMIT),
  },
  { additionalProperties: false },
)
export type Card = Static<typeof Card>

/** Fields of a printed card that are always made from what is known; a person's copy of them is not read. */
const generated = ['name', 'version', 'task', 'family', 'tags', 'data', 'metrics', 'parameters'] as const

const invalid = (reason: string) => fail('CARD_INVALID', { reason })

/** The value as a card; throws CARD_INVALID naming what is wrong. */
export function checkCard(value: unknown): Card {
  const { Check, Errors } = require('typebox/value') as typeof Value
  if (Check(Card, value)) return value
  const [first] = Errors(Card, value)
  const extra = (first?.params as { additionalProperties?: string[] } | undefined)?.additionalProperties
  throw invalid(extra ? `there is no field "${extra[0].slice(0, 80)}"` : `${first?.instancePath}: ${first?.message}`)
}

/** Reads a card from Markdown with YAML between lines of `---` before it; throws CARD_INVALID. */
export function parseCard(markdown: string): Card {
  if (markdown.length > CARD_LIMIT) throw invalid(`it is longer than ${CARD_LIMIT} characters`)
  const [, front, rest = ''] = /^\uFEFF?---\r?\n(.*?)\r?\n?---\r?\n?(.*)$/s.exec(markdown) ?? [undefined, '', markdown]
  let fields: unknown
  try {
    const { parse } = require('yaml') as typeof Yaml
    fields = parse(front, { schema: 'core', maxAliasCount: 0 }) ?? {}
  } catch (error) {
    throw invalid(`the part between the lines of --- is not YAML: ${(error as Error).message.split('\n')[0]}`)
  }
  if (typeof fields !== 'object' || Array.isArray(fields)) throw invalid('between the lines of --- stand no fields')
  const kept = Object.entries(fields as object).filter(([key]) => !(generated as readonly string[]).includes(key))
  const text = rest.trim()
  return checkCard({ ...Object.fromEntries(kept), ...(text !== '' && { text }) })
}

/** Languages that a script is written in, where there is but one that matters. */
const languageOf: Partial<Record<string, string>> = {
  Han: 'zh',
  Hiragana: 'ja',
  Katakana: 'ja',
  Hangul: 'ko',
  Thai: 'th',
}

/** Languages as far as the scripts of the data tell, from a fifth of the rows on. */
export function languagesOf({ profile }: Pick<Manifest, 'profile'>): string[] {
  const scripts = Object.entries((profile?.scripts ?? {}) as Record<string, number>)
  const found = scripts.filter(([, share]) => share >= 0.2).map(([script]) => languageOf[script])
  return [...new Set(found.filter((language) => language !== undefined))]
}

/** A model's page as Markdown: fields as YAML, then what people wrote, or what can be told from the version. */
export function printCard(
  { name, version, manifest }: Pick<Version, 'name' | 'version' | 'manifest'>,
  card: Card,
  tags: Readonly<Record<string, string>>,
): string {
  const { stringify } = require('yaml') as typeof Yaml
  const { text, ...fields } = card
  const { task, family, parameters, metrics, lineage, description } = manifest
  const languages = card.languages ?? languagesOf(manifest)
  const front = {
    name,
    version,
    task,
    family,
    ...(description !== undefined && { description }),
    ...fields,
    ...(languages.length > 0 && { languages }),
    ...(Object.keys(tags).length > 0 && { tags }),
    ...(lineage.dataset && { data: { source: lineage.dataset.source, rows: lineage.dataset.rows } }),
    parameters,
    ...(Object.keys(metrics).length > 0 && { metrics }),
  }
  return `---\n${stringify(front)}---\n\n${text ?? described(name, manifest)}\n`
}

const percent = (value: number) => `${(100 * value).toFixed(1)} %`

/** A few sentences from what is known of a version. */
function described(name: string, { task, family, labels, lineage, metrics, signature }: Manifest): string {
  const shape = (specs: Manifest['signature']['inputs']) =>
    specs.map((spec) => `\`${spec.name}\` ${spec.dtype}[${spec.shape.join(', ')}]`).join(', ')
  const shown = labels.slice(0, 20).map((label) => `\`${label.replaceAll('`', "'")}\``)
  return [
    `# ${name}`,
    `A model for ${task.replaceAll('-', ' ')} of the family ${family}.`,
    ...(labels.length > 0 ? [`It answers: ${shown.join(', ')}${labels.length > 20 ? ', …' : ''}.`] : []),
    ...(lineage.dataset
      ? [`Trained on ${lineage.dataset.source.replaceAll('`', "'")} (${lineage.dataset.rows} rows).`]
      : []),
    ...(metrics.accuracy !== undefined ? [`Right on ${percent(metrics.accuracy)} of held-out rows.`] : []),
    `Inputs: ${shape(signature.inputs) || 'none'}. Outputs: ${shape(signature.outputs) || 'none'}.`,
  ].join('\n\n')
}
