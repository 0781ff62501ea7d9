import { readFile } from 'node:fs/promises'
import type { LineageGraph } from '../../../client/src/index.ts'
import type { Context } from '../context.ts'
import { figures } from '../figures.ts'
import { wholeNumber } from '../reading.ts'
import { ago, bytes, compact, printable } from '../terminal.ts'

/** Prints the card of a model, or replaces it with a file. */
export async function card({ client, out }: Context, model: string, { edit }: { edit?: string }) {
  if (edit !== undefined) {
    const { card } = await client.models.setCard(model, await readFile(edit, 'utf8'))
    return out.json ? out.document(card) : out.say(`the card of ${model} is that of ${edit}`)
  }
  const view = await client.models.card(model)
  if (out.json) return out.document(view)
  out.data(printable(view.markdown).trimEnd())
}

/** Prints where a model comes from and what became of it, as a tree. */
export async function lineage({ client, out }: Context, model: string) {
  const graph = await client.models.lineage(model)
  if (out.json) return out.document(graph)
  for (const line of tree(graph)) out.data(printable(line))
  if (graph.cut) out.say('there is more; only the newest versions and the nearest models are shown')
}

/** A graph as lines: every node once, whatever leads to it again is a line that points there. */
function tree({ nodes, edges }: LineageGraph): string[] {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const entered = new Set(edges.map(({ to }) => to))
  const seen = new Set<string>()
  const lines: string[] = []
  const visit = (id: string, lead: string, branch: string) => {
    const node = byId.get(id)
    if (!node) return
    const about = Object.entries(node.about).map(([name, value]) =>
      name === 'state' ? value : `${name} ${short(value)}`,
    )
    const title = node.kind === 'requests' ? node.title : `${node.kind} ${node.title}`
    const known = seen.has(id)
    lines.push(`${lead}${branch}${title}${known ? '  (above)' : about.length > 0 ? `  ${about.join(', ')}` : ''}`)
    if (known) return
    seen.add(id)
    const next = edges.filter(({ from }) => from === id)
    const below = lead + (branch === '' ? '' : branch === '└─ ' ? '   ' : '│  ')
    for (const [i, { to }] of next.entries()) visit(to, below, i === next.length - 1 ? '└─ ' : '├─ ')
  }
  for (const { id } of nodes) if (!entered.has(id)) visit(id, '', '')
  for (const { id } of nodes) if (!seen.has(id)) visit(id, '', '')
  return lines
}

const short = (value: string | number) =>
  typeof value === 'number'
    ? String(Number(value.toPrecision(4)))
    : /^[0-9a-f]{64}$/.test(value)
      ? value.slice(0, 12)
      : value

/** Prints the versions of a model side by side. */
export async function compareVersions({ client, out }: Context, model: string) {
  const { versions, usage } = await client.models.page(model)
  if (out.json) return out.document(versions)
  out.table(
    [
      'VERSION',
      'FAMILY',
      'FIGURES',
      'LATENCY',
      'ROWS/S',
      'SIZE',
      'MEMORY',
      'PARAMETERS',
      'REQUESTS',
      'MADE BY',
      'CREATED',
    ],
    versions.map((one) => [
      String(one.version),
      one.family,
      figures(one.metrics),
      one.latency === undefined ? '' : `${one.latency.toPrecision(3)} ms`,
      one.throughput === undefined ? '' : compact(one.throughput),
      bytes(one.bytes),
      one.memory === undefined ? '' : bytes(one.memory),
      compact(one.parameters),
      String(usage.find(({ version }) => version === one.version)?.requests ?? 0),
      one.madeBy,
      ago(one.createdAt),
    ]),
  )
}

/** Sets tags (`name` or `name=value`), or removes them. */
export async function tag(
  { client, out }: Context,
  ref: string,
  tags: readonly string[],
  { remove }: { remove?: boolean },
) {
  const [model, version] = ref.split('@')
  const number = version === undefined ? undefined : wholeNumber('version', version)
  const given = tags.map((text): [string, string | null] => {
    const at = text.indexOf('=')
    if (remove) return [text, null]
    return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
  })
  const { tags: all } = await client.models.setTags(model, Object.fromEntries(given), number)
  if (out.json) return out.document({ model: ref, tags: all })
  out.say(
    `${ref}: ${
      Object.entries(all)
        .map(([name, value]) => (value ? `${name}=${value}` : name))
        .join(', ') || 'no tags'
    }`,
  )
}

/** Brings back a deleted model or version, or lists what can be. */
export async function undelete({ client, out }: Context, ref: string) {
  const { model, versions } = await client.models.restore(ref)
  if (out.json) return out.document({ model, versions })
  out.say(`back: ${versions.map((version) => `${model}@${version}`).join(', ')}`)
}

export async function deleted({ client, out }: Context) {
  const list = await client.models.deleted()
  if (out.json) return out.document(list)
  if (list.length === 0) return out.say('nothing deleted is kept')
  out.table(
    ['VERSION', 'DELETED'],
    list.map(({ model, version, deletedAt }) => [`${model}@${version}`, ago(deletedAt)]),
  )
}

/** Purges what was deleted, and what failed runs keep, long enough ago. */
export async function gc({ client, out }: Context, { days }: { days?: string }) {
  const found = await client.registry.collectGarbage(days === undefined ? undefined : wholeNumber('days', days))
  if (out.json) return out.document(found)
  out.say(
    `${found.versions} versions purged, what ${found.runs} runs kept, ${found.blobs} files removed (${bytes(found.bytes)})`,
  )
}

/** Lists, adds or removes webhooks. */
export async function webhooks(
  { client, out }: Context,
  { add, events, remove }: { add?: string; events?: string; remove?: string },
) {
  if (remove !== undefined) {
    await client.registry.removeWebhook(remove)
    return out.json ? out.document({ removed: remove }) : out.say(`${remove} removed`)
  }
  if (add !== undefined) {
    const hook = await client.registry.addWebhook(add, events?.split(',').map((one) => one.trim()) ?? [])
    if (out.json) return out.document(hook)
    out.say(`${hook.id} is told of ${hook.events.join(', ') || 'every change'}. Its secret, shown only now:`)
    return out.data(hook.secret)
  }
  const list = await client.registry.webhooks()
  if (out.json) return out.document(list)
  if (list.length === 0) return out.say('no webhooks. Add one:  athanor webhooks --add https://example.org/hook')
  out.table(
    ['ID', 'ADDRESS', 'EVENTS', 'WAITING'],
    list.map((hook) => [hook.id, hook.url, hook.events.join(' ') || 'all', String(hook.waiting ?? 0)]),
  )
}
