import { userInfo } from 'node:os'
import type { Deployment, DeploymentOrder } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import { parseDuration } from '../../base/units.ts'
import type { Context } from '../context.ts'
import { ago } from '../terminal.ts'

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
  out.say(`${model} → ${targetsOf(deployment)}`)
  if (deployment.plan.canary) out.say(`  Follow it:  athanor deployments ${model}`)
}

/** Goes back to the version before, or ends a trial. */
export async function rollback({ client, out }: Context, model: string) {
  const deployment = await client.deployments.rollback(model, { by: me() })
  if (out.json) return out.document(deployment)
  out.say(`${model} → ${targetsOf(deployment)}`)
}

/** Gives the canary all requests. */
export async function promote({ client, out }: Context, model: string) {
  const deployment = await client.deployments.promote(model, { by: me() })
  if (out.json) return out.document(deployment)
  out.say(`${model} → ${targetsOf(deployment)}`)
}

/** All deployments, or one with what its trial has found and the trail of its changes. */
export async function deployments({ client, out }: Context, model: string | undefined) {
  if (model === undefined) {
    const list = await client.deployments.list()
    if (out.json) return out.document(list)
    if (list.length === 0) return out.say('no deployments: the newest version of each model answers')
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
  const [one, changes] = await Promise.all([client.deployments.show(model), client.deployments.changes(model, 20)])
  if (out.json) return out.document({ ...one, changes })
  out.data(`${out.style('bold', model)}  ${targetsOf(one)}`)
  if (one.trial) {
    const needed = Object.entries(one.trial).filter(([, { candidate }]) => candidate.seen > 0)
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

const targetsOf = ({ plan }: Deployment) =>
  plan.targets
    .map(({ version, weight }) => (plan.targets.length === 1 ? `${version}` : `${version} ${weight} %`))
    .join(' · ')

/** Evidence as odds against chance: `20 : 1` is what a test at 5 % asks. */
const odds = (log: number) => (log > 20 ? '> 10⁸ : 1' : `${Math.exp(log).toPrecision(2)} : 1`)
