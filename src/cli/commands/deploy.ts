import { readFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import type { AthanorError, Deployment, DeploymentOrder, Pipeline } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import { parseDuration } from '../../base/units.ts'
import type { Context } from '../context.ts'
import { ago, bytes } from '../terminal.ts'

/** Who the trail says it was. */
const me = () => {
  try {
    return userInfo().username
  } catch {
    return 'cli' // a user without a name
  }
}

const numbers = (option: string, text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const value = Number(text)
  if (text.trim() !== '' && Number.isFinite(value)) return value
  throw fail('OPTION_INVALID', { option, reason: `expected a number, got "${text.slice(0, 40)}"` })
}

export interface DeployFlags {
  canary?: string
  weight?: string
  weights?: string
  shadow?: string
  share?: string
  minimum?: string
  disagreement?: string
  alpha?: string
  manual?: boolean
}

/** Deploys a version, tries a canary, sets weights or a shadow. */
export async function deploy({ client, out }: Context, model: string, version: string | undefined, flags: DeployFlags) {
  if (version !== undefined && flags.canary !== undefined)
    throw fail('OPTION_INVALID', {
      option: 'canary',
      reason: `it is tried beside the version that answers now; first athanor deploy ${model} ${version}, then --canary alone`,
    })
  const weights = flags.weights?.split(',').map((part) => part.split('=') as [string, string])
  const policy = {
    alpha: numbers('alpha', flags.alpha),
    minimum: numbers('minimum', flags.minimum),
    disagreement: numbers('disagreement', flags.disagreement),
    ...(flags.manual && { automatic: false }),
  }
  const order = {
    version: numbers('version', version),
    canary: numbers('canary', flags.canary),
    weight: numbers('weight', flags.weight),
    shadow: numbers('shadow', flags.shadow),
    share: numbers('share', flags.share),
    weights: weights && Object.fromEntries(weights.map(([one, weight]) => [one, numbers('weights', weight)])),
    by: me(),
    ...(Object.values(policy).some((value) => value !== undefined) && { policy }),
  }
  const deployment = await client.deployments.deploy(model, order as DeploymentOrder)
  if (out.json) return out.document(deployment)
  out.say(`${model} is answered by version ${targetsOf(deployment)}`)
  if (deployment.plan.canary)
    out.next(`athanor deployments ${model}`, `athanor promote ${model}`, `athanor rollback ${model}`)
  else out.next(`athanor deployments ${model}`)
}

/** Goes back to the version before, or ends a trial. */
export async function rollback({ client, out }: Context, model: string) {
  const deployment = await client.deployments.rollback(model, { by: me() })
  if (out.json) return out.document(deployment)
  out.say(`${model} is answered by version ${targetsOf(deployment)}`)
}

/** Gives the canary all requests. */
export async function promote({ client, out }: Context, model: string) {
  const deployment = await client.deployments.promote(model, { by: me() })
  if (out.json) return out.document(deployment)
  out.say(`${model} is answered by version ${targetsOf(deployment)}`)
}

/** All deployments, or one with what its trial has found and the trail of its changes. */
export async function deployments({ client, out }: Context, model: string | undefined) {
  if (model === undefined) {
    const list = await client.deployments.list()
    if (out.json) return out.document(list)
    if (list.length === 0) {
      out.say('no deployments: the newest version of each model answers')
      return out.next('athanor deploy MODEL VERSION')
    }
    return out.table(
      ['MODEL', 'VERSIONS', 'CANARY', 'SHADOW'],
      list.map((one) => [
        one.model,
        targetsOf(one),
        one.plan.canary ? (one.found ?? `since ${ago(one.plan.canary.since)}`) : '',
        one.plan.shadow ? `${one.plan.shadow.version} (${100 * one.plan.shadow.share} %)` : '',
      ]),
    )
  }
  const [one, changes] = await Promise.all([
    client.deployments.show(model).catch((error: AthanorError) => {
      if (error.code !== 'DEPLOYMENT_NOT_FOUND') throw error
    }),
    client.deployments.changes(model, 20),
  ])
  if (out.json) return out.document({ ...(one ?? { model, plan: null }), changes })
  if (!one) {
    out.say(`no deployment of ${model}: its newest version answers`)
    return out.next(`athanor deploy ${model} VERSION`)
  }
  out.data(`${out.style('bold', model)}  version ${targetsOf(one)}`)
  if (one.trial) {
    const needed = Object.entries(one.trial).filter(([, { candidate }]) => candidate.seen > 0)
    if (needed.length === 0) out.data('the canary has answered nothing yet')
    else
      out.table(
        ['RESPECT', 'STABLE', 'CANARY', 'WORSE', 'FINE'],
        needed.map(([respect, { stable, candidate, worse, fine }]) => [
          respect,
          stable ? `${stable.bad} of ${stable.seen}` : '',
          `${candidate.bad} of ${candidate.seen}`,
          odds(worse),
          odds(fine),
        ]),
      )
  }
  for (const { shadow, rows, disagreed, failed, dropped, pairs } of one.shadows) {
    const left = dropped > 0 ? `, ${dropped} requests left out` : ''
    out.data(`beside it ${shadow}: ${disagreed} of ${rows} answers differ, ${failed} failed${left}`)
    for (const { answer, shadow: said, count } of pairs.slice(0, 5)) out.data(`  ${count} × ${answer} → ${said}`)
  }
  out.table(
    ['CHANGED', 'BY', 'WHAT', 'WHY'],
    changes.map(({ at, who, what, detail }) => [ago(at), who, what, detail]),
  )
}

/** Registers a pipeline of classifiers, from a JSON file. */
export async function compose({ client, out }: Context, model: string, file: string) {
  const text = await readFile(file, 'utf8')
  let graph: Pipeline
  try {
    graph = JSON.parse(text) as Pipeline
  } catch {
    throw fail('PATH_UNUSABLE', { path: file, reason: 'it is not JSON' })
  }
  const { name, version, manifest } = await client.deployments.compose(model, graph)
  if (out.json) return out.document({ name, version, labels: manifest.labels })
  out.say(`${name}@${version} answers with ${manifest.labels.join(', ')}`)
}

/** Keeps a model in memory, or how long it stays there without a request. */
export async function pin(
  { client, out }: Context,
  model: string,
  { off, keepAlive }: { off?: boolean; keepAlive?: string },
) {
  const changes = {
    ...(keepAlive === undefined && { pinned: !off }),
    ...(keepAlive !== undefined && { keepAlive: parseDuration('keep-alive', keepAlive) }),
  }
  const serving = await client.deployments.setServing(model, changes)
  if (out.json) return out.document({ model, serving })
  if (keepAlive !== undefined) return out.say(`${model} stays for ${keepAlive} without a request`)
  out.say(off ? `${model} may be unloaded` : `${model} stays in memory`)
}

/** Measures how a version is run best, and keeps that. */
export async function tune({ client, out }: Context, model: string) {
  const { measured, chosen } = await client.deployments.tune(model)
  if (out.json) return out.document({ model, measured, chosen })
  const is = (one: (typeof measured)[number]) =>
    one.threads === chosen.threads && one.replicas === chosen.replicas && one.tokenBudget === chosen.tokenBudget
  out.table(
    ['THREADS', 'REPLICAS', 'TOKENS A BATCH', 'REQUESTS/S', 'ONE ALONE', 'MEMORY', ''],
    measured.map((one) => [
      String(one.threads),
      String(one.replicas),
      String(one.tokenBudget ?? ''),
      one.perSecond.toFixed(0),
      `${one.alone.toFixed(2)} ms`,
      bytes(one.memory),
      is(one) ? 'chosen' : '',
    ]),
  )
  out.next('athanor ps')
}

/** `2`, or `1 (90 %), 2 (10 %)`. */
const targetsOf = ({ plan }: Deployment) =>
  plan.targets
    .map(({ version, weight }) => (plan.targets.length === 1 ? `${version}` : `${version} (${weight} %)`))
    .join(', ')

/** Evidence as odds against chance: `20 : 1` is what a test at 5 % asks. */
const odds = (log: number) => (log > 20 ? '> 10⁸ : 1' : `${Math.exp(log).toPrecision(2)} : 1`)
