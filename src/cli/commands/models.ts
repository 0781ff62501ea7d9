import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { TrialReport } from '../../../client/src/index.ts'
import { type DataReport, describeReport } from '../../data/report.ts'
import type { Context } from '../context.ts'
import { trialTable } from '../figures.ts'
import { given, wholeNumber } from '../reading.ts'
import { ago, bytes, compact } from '../terminal.ts'

export interface ModelOptions {
  search?: string
  task?: string
  family?: string
  language?: string
  licence?: string
  tag?: string
  where?: string
  sort?: string
  limit?: string
  cursor?: string
  facets?: boolean
  deleted?: boolean
}

const searched = ['search', 'task', 'family', 'language', 'licence', 'tag', 'where', 'sort', 'cursor'] as const

/** Lists a page of models that have all that is asked for, or counts them by facets. */
export async function models({ client, out }: Context, options: ModelOptions) {
  const query = given(options, searched)
  const limit = options.limit === undefined ? {} : { limit: wholeNumber('limit', options.limit) }
  const { models: list, total, facets, next } = await client.models.search({ ...query, ...limit })
  if (options.facets) {
    if (out.json) return out.document(facets)
    const rows = Object.entries(facets).flatMap(([kind, values]) =>
      values.map(({ value, count }) => [kind, value, String(count)]),
    )
    return out.table(['FACET', 'VALUE', 'MODELS'], rows)
  }
  if (out.json) return out.document(list)
  if (list.length === 0)
    return out.say(
      Object.keys(query).length > 0 ? 'no model has all of that' : 'no models yet. Train one:  athanor train DATA.csv',
    )
  const score = (metrics: Record<string, number>) => (metrics.accuracy === undefined ? '' : metrics.accuracy.toFixed(4))
  out.table(
    ['NAME', 'VERSION', 'TASK', 'FAMILY', 'ACCURACY', 'SIZE', 'ALIASES', 'UPDATED'],
    list.map((m) => {
      const aliases = Object.entries(m.aliases).map(([alias, version]) => `${alias}→${version}`)
      return [
        m.name,
        String(m.version),
        m.task,
        m.family,
        score(m.metrics),
        bytes(m.bytes),
        aliases.join(' '),
        ago(m.updatedAt),
      ]
    }),
  )
  if (next) out.say(`${list.length} of ${total}; go on with --cursor ${next}`)
}

/** Shows a model's card, or its graph; a file that ends in .onnx is read from disk. */
export async function show(
  { client, out }: Context,
  target: string,
  { graph, data }: { graph?: boolean; data?: boolean },
) {
  if (data) {
    const file = await client.models.file(target, out.json ? 'data-card.json' : 'data-card.md')
    return out.data(Buffer.from(file).toString('utf8').trim())
  }
  if (graph) {
    const onnx =
      target.endsWith('.onnx') && existsSync(target)
        ? await readFile(target)
        : await client.models.file(target, 'model.onnx')
    const [{ readModel }, { printModel }] = await Promise.all([
      import('../../graph/codec.ts'),
      import('../../graph/print.ts'),
    ])
    const lines = printModel(readModel(onnx))
    if (out.json) return out.document({ graph: [...lines] })
    for (const line of lines) out.data(line)
    return
  }
  const detail = await client.models.show(target)
  if (out.json) return out.document(detail)
  const { name, version, aliases, versions, manifest, files } = detail
  const { lineage } = manifest
  const row = (title: string, value: string | undefined) => value && out.prose(`  ${title.padEnd(12)} ${value}`, 15)
  out.prose(
    `${out.style('bold', `${name}@${version}`)}  ${manifest.task} · ${manifest.family} · ${compact(manifest.parameters)} parameters`,
  )
  row('about', manifest.description)
  row(
    'labels',
    manifest.labels.length > 0
      ? `${manifest.labels.slice(0, 12).join(', ')}${manifest.labels.length > 12 ? `, … (${manifest.labels.length})` : ''}`
      : undefined,
  )
  row(
    'metrics',
    Object.entries(manifest.metrics)
      .map(([key, value]) => `${key} ${Number(value.toPrecision(5))}`)
      .join(', '),
  )
  for (const [title, specs] of [
    ['inputs', manifest.signature.inputs],
    ['outputs', manifest.signature.outputs],
  ] as const) {
    row(title, specs.map((spec) => `${spec.name} ${spec.dtype}[${spec.shape.join(', ')}]`).join(', '))
  }
  row(
    'data',
    lineage.dataset &&
      `${lineage.dataset.source}, ${lineage.dataset.rows} rows, sha256 ${lineage.dataset.digest.slice(0, 12)}…`,
  )
  if (manifest.data) for (const line of describeReport(manifest.data as unknown as DataReport)) row('', line)
  row(
    'made by',
    `athanor ${lineage.code}${lineage.run ? `, run ${lineage.run}` : ''}${lineage.seed === undefined ? '' : `, seed ${lineage.seed}`}`,
  )
  const { refinedFrom, passes = [], measurements = [], forced } = lineage
  row('refined', refinedFrom && `from ${refinedFrom.model}@${refinedFrom.version}`)
  for (const { name, note } of passes) row('', `${name}: ${note}`)
  row(
    'against it',
    measurements.length > 0
      ? measurements
          .filter(({ name }) => name !== 'macroF1')
          .map(({ name, refined, change }) => {
            if (name === 'agreement') return `agreement ${(refined * 100).toFixed(2)} %`
            return name === 'accuracy' ? `accuracy ${change.toFixed(2)} pt` : `${name} ${change.toFixed(2)}x`
          })
          .join(', ')
      : undefined,
  )
  row('forced', forced && `though ${forced.join('; ')}`)
  row('files', files.map((file) => `${file.name} ${bytes(file.bytes)}`).join(', '))
  row(
    'aliases',
    Object.entries(aliases)
      .map(([alias, to]) => `${alias} → ${to}`)
      .join(', ') || undefined,
  )
  if (lineage.selection) {
    out.data('')
    trialTable(out, lineage.selection as unknown as TrialReport[])
  }
  out.data('')
  out.table(
    ['VERSION', 'FAMILY', 'ACCURACY', 'CREATED'],
    versions.map((one) => [
      String(one.version),
      one.family,
      one.metrics.accuracy?.toFixed(4) ?? '',
      ago(one.createdAt),
    ]),
  )
}

/** Points an alias to a version, or removes it. */
export async function alias({ client, out }: Context, model: string, name: string, version: string | undefined) {
  if (version === undefined) await client.models.removeAlias(model, name)
  else await client.models.setAlias(model, name, wholeNumber('version', version))
  const { aliases } = await client.models.show(model)
  if (out.json) return out.document({ model, aliases })
  out.say(version === undefined ? `${model}@${name} removed` : `${model}@${name} → ${version}`)
}

/** Deletes a model or one version, after asking on a terminal. */
export async function remove({ client, out }: Context, ref: string, { yes }: { yes?: boolean }) {
  await client.models.show(ref)
  if (!yes && process.stdin.isTTY && !out.json) {
    const { createInterface } = await import('node:readline/promises')
    const ask = createInterface({ input: process.stdin, output: process.stderr })
    const answer = await ask.question(`Delete ${ref}? (y/N) `)
    ask.close()
    if (!/^y(es)?$/i.test(answer.trim())) return out.say('nothing deleted')
  }
  await client.models.delete(ref)
  if (out.json) return out.document({ deleted: ref })
  out.say(`${ref} deleted; for a while it can be brought back: athanor rm ${ref} --undo`)
}
