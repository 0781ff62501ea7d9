import { fail } from '../base/errors.ts'
import { checkName } from '../base/ids.ts'
import { version as code } from '../base/version.ts'
import { type Composition, inputsOf } from '../bundle/composition.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { Registry, Version } from '../registry/registry.ts'

/** Nodes from the answer to the models that it is made of, at most. */
const DEPTH = 8

const wrong = (reason: string) => fail('BAD_REQUEST', { message: `pipeline: ${reason}` })

/**
 * Registers a composition as the next version of `name`, a classifier of texts. Its models must be there, be classifiers
 * with one label a text and not be compositions; nodes that are averaged or routed to must have the same labels, and no
 * node may lead to itself. Throws BAD_REQUEST and what resolving throws.
 */
export async function addComposition(
  registry: Registry,
  resolve: (ref: string) => Promise<Version>,
  name: string,
  { description, ...composition }: Composition & { description?: string },
): Promise<Version> {
  checkName(name)
  const labels = await labelsOf(composition, resolve)
  const manifest: Manifest = {
    format: 'athanor-bundle',
    formatVersion: 1,
    task: 'text-classification',
    engine: 'pipeline',
    composition,
    family: 'pipeline',
    signature: {
      inputs: [{ name: 'text', dtype: 'string', shape: ['batch'] }],
      outputs: [{ name: 'probabilities', dtype: 'float32', shape: ['batch', labels.length] }],
    },
    labels: [...labels],
    parameters: 0,
    metrics: {},
    lineage: { code },
    ...(description !== undefined && { description }),
    createdAt: new Date().toISOString(),
  }
  return registry.register(name, manifest, {})
}

/** The labels of a composition's answer; every node is looked at. */
async function labelsOf({ nodes, output }: Composition, resolve: (ref: string) => Promise<Version>) {
  const known = new Map<string, { labels: readonly string[]; height: number }>()
  const visit = async (
    name: string,
    path: readonly string[],
  ): Promise<{ labels: readonly string[]; height: number }> => {
    if (path.includes(name)) throw wrong(`"${name}" leads to itself: ${[...path, name].join(' → ')}`)
    const seen = known.get(name)
    if (seen) return seen
    const step = Object.hasOwn(nodes, name) ? nodes[name] : undefined
    if (!step) throw wrong(`there is no node "${name}"`)
    if ('average' in step && step.weights && step.weights.length !== step.average.length)
      throw wrong(`"${name}" averages ${step.average.length} nodes with ${step.weights.length} weights`)
    const inputs: (readonly string[])[] = []
    let height = 1
    for (const input of inputsOf(step)) {
      const below = await visit(input, [...path, name])
      inputs.push(below.labels)
      height = Math.max(height, below.height + 1)
    }
    if (height > DEPTH) throw wrong(`it is deeper than ${DEPTH} nodes at "${name}"`)
    const [first, ...rest] = 'route' in step ? inputs.slice(1) : inputs
    const labels = 'model' in step ? await classifierLabels(step.model, resolve) : first
    for (const other of rest)
      if (!alike(labels, other)) throw wrong(`nodes of "${name}" have different labels: ${labels} and ${other}`)
    if ('route' in step)
      for (const label of Object.keys(step.cases))
        if (!inputs[0].includes(label)) throw wrong(`"${step.route}" has no label "${label}"; it has ${inputs[0]}`)
    const found = { labels, height }
    known.set(name, found)
    return found
  }
  const { labels } = await visit(output, [])
  const unused = Object.keys(nodes).find((name) => !known.has(name))
  if (unused !== undefined) throw wrong(`nothing leads to "${unused}"`)
  return labels
}

async function classifierLabels(ref: string, resolve: (ref: string) => Promise<Version>): Promise<readonly string[]> {
  const { manifest } = await resolve(ref)
  const { task, problem = 'classification', engine, labels } = manifest
  if (task !== 'text-classification' || problem !== 'classification')
    throw wrong(`"${ref}" is no classifier of texts with one label each`)
  if (engine === 'pipeline') throw wrong(`"${ref}" is a pipeline itself`)
  return labels
}

const alike = (a: readonly string[], b: readonly string[]) =>
  a.length === b.length && a.every((label) => b.includes(label))

/** What a model says of texts: its labels now, and probabilities (texts, labels). */
export interface Said {
  labels: readonly string[]
  probabilities: Float32Array
}

/**
 * The answer of a composition: probabilities (texts, labels) in the order of `labels`. Each model is asked once at most
 * about each text, and only those that the text is routed to. Throws MODEL_NOT_READY for a model whose labels have changed.
 */
export async function runComposition(
  { nodes, output }: Composition,
  labels: readonly string[],
  texts: readonly string[],
  ask: (ref: string, texts: readonly string[]) => Promise<Said>,
): Promise<Float32Array> {
  /** For each node and text its probabilities by label. */
  const known = new Map<string, Promise<Map<string, number>>[]>()
  const rowsOf = (name: string, rows: readonly number[]): Promise<Map<string, number>[]> => {
    const cells = known.get(name) ?? []
    known.set(name, cells)
    const missing = rows.filter((row) => cells[row] === undefined)
    if (missing.length > 0) {
      const found = work(name, missing)
      missing.forEach((row, at) => {
        cells[row] = found.then((all) => all[at])
        cells[row].catch(() => undefined) // told by whoever waits for it
      })
    }
    return Promise.all(rows.map((row) => cells[row]))
  }
  const work = async (name: string, rows: readonly number[]): Promise<Map<string, number>[]> => {
    const step = nodes[name]
    if ('model' in step)
      return byLabel(
        await ask(
          step.model,
          rows.map((row) => texts[row]),
        ),
      )
    if ('average' in step) {
      const { average, weights = average.map(() => 1) } = step
      const parts = await Promise.all(average.map((input) => rowsOf(input, rows)))
      const total = weights.reduce((a, b) => a + b, 0)
      return rows.map((_, at) => {
        const mean = new Map<string, number>()
        for (const label of parts[0][at].keys())
          mean.set(label, parts.reduce((sum, part, i) => sum + weights[i] * (part[at].get(label) ?? 0), 0) / total)
        return mean
      })
    }
    const chosen = (await rowsOf(step.route, rows)).map(best)
    const ways = chosen.map((label) => (Object.hasOwn(step.cases, label) ? step.cases[label] : step.otherwise))
    const answers = new Map<number, Map<string, number>>()
    await Promise.all(
      [...new Set(ways)].map(async (way) => {
        const taken = rows.filter((_, at) => ways[at] === way)
        const said = await rowsOf(way, taken)
        for (const [at, row] of taken.entries()) answers.set(row, said[at])
      }),
    )
    return rows.map((row) => answers.get(row)!)
  }
  const rows = await rowsOf(
    output,
    texts.map((_, row) => row),
  )
  return Float32Array.from(rows.flatMap((row) => labels.map((label) => scoreOf(row, label))))
}

function byLabel({ labels, probabilities }: Said): Map<string, number>[] {
  const width = labels.length
  return Array.from(
    { length: probabilities.length / width },
    (_, row) => new Map(labels.map((label, i) => [label, probabilities[row * width + i]])),
  )
}

const best = (row: Map<string, number>) => [...row].reduce((a, b) => (b[1] > a[1] ? b : a))[0]

function scoreOf(row: Map<string, number>, label: string): number {
  const score = row.get(label)
  if (score !== undefined) return score
  throw fail('MODEL_NOT_READY', { name: label, reason: 'a model of this pipeline no longer has that label' })
}
