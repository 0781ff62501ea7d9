import { fail } from '../base/errors.ts'
import type { Registry, Version } from '../registry/registry.ts'
import type { DeploymentChange, RolloutRecords } from '../store/rollouts.ts'
import type { Serving } from './engines.ts'
import { checkAlike, type Order, type Plan, placeOf, shareOf, versionAt, versionsOf } from './plan.ts'
import { defaultPolicy, type Outcome, type SavedTrial, Trial } from './trial.ts'

/** Who makes changes that nobody asked for. */
const ITSELF = 'athanor'
/** Milliseconds between two savings of what tests have seen. */
const SAVE_EVERY = 5_000

interface Deployment {
  readonly model: string
  plan: Plan
  trial?: Trial
  /** What an automatic canary found that is not automatic. */
  found?: string
  dirty?: boolean
}

/** Which version a call goes to, and whether it is one of a trial. */
export interface Pick {
  version: number
  told?: (outcome: Omit<Outcome, 'ofCandidate'>) => void
}

/** Deployments: which versions answer for a model's bare name, trials of candidates, and the trail of every change. */
export class Rollouts {
  readonly #records: RolloutRecords
  readonly #registry: Registry
  readonly #deployments = new Map<string, Deployment>()
  readonly #servings = new Map<string, Serving>()
  readonly #saver: NodeJS.Timeout
  /** Brings a version into memory before requests come to it. */
  prepare: (version: Version) => Promise<unknown> = async () => {}
  /** Told of every change, also of those that a trial makes. */
  onChange: (model: string, change: { who: string; what: string; detail: string }) => void = () => {}
  onError: (error: unknown) => void = () => {}
  /** What refs mean has changed. */
  forget: () => void = () => {}

  private constructor(records: RolloutRecords, registry: Registry) {
    this.#records = records
    this.#registry = registry
    this.#saver = setInterval(() => void this.#saveEvidence(), SAVE_EVERY).unref()
  }

  static async open(records: RolloutRecords, registry: Registry): Promise<Rollouts> {
    const rollouts = new Rollouts(records, registry)
    await rollouts.reload()
    return rollouts
  }

  /** Takes over what other processes changed; where a plan is the same, its test goes on with what was seen here. */
  async reload() {
    const stored = await this.#records.all()
    const servings = await this.#records.servings()
    const models = new Set(stored.map(({ model }) => model))
    for (const model of this.#deployments.keys()) if (!models.has(model)) this.#deployments.delete(model)
    for (const { model, plan, evidence } of stored) {
      const { plan: known } = this.#deployments.get(model) ?? {}
      if (known && JSON.stringify(known) === JSON.stringify(plan)) continue
      this.#deployments.set(model, deploymentOf(model, plan as Plan, evidence as SavedTrial | null))
    }
    this.#servings.clear()
    for (const { model, settings } of servings) this.#servings.set(model, settings as Serving)
  }

  /** The version that stands for a model in descriptions of it; undefined where it has no deployment. */
  stableOf(model: string): number | undefined {
    return this.#deployments.get(model)?.plan.targets[0].version
  }

  /** Chooses by weights, the same for calls of one key; undefined where the model has no deployment. */
  pick(model: string, key?: string): Pick | undefined {
    const deployment = this.#deployments.get(model)
    if (!deployment) return undefined
    const { plan, trial } = deployment
    const version = versionAt(plan, key === undefined ? Math.random() : placeOf(model, key))
    const { canary } = plan
    if (!trial || !canary) return { version }
    if (version !== canary.version && version !== plan.targets[0].version) return { version }
    const ofCandidate = version === canary.version
    const weight = shareOf(plan, canary.version)
    return {
      version,
      told: (outcome) => {
        if (deployment.trial !== trial) return // it is over
        trial.add({ ...outcome, ofCandidate, ...(key !== undefined && { key }) }, weight)
        this.#judge(deployment)
      },
    }
  }

  /** The shadow of a model, for a share of its requests. */
  shadowOf(model: string): number | undefined {
    const shadow = this.#deployments.get(model)?.plan.shadow
    return shadow && Math.random() < shadow.share ? shadow.version : undefined
  }

  /** The version with which answers of a candidate are compared; undefined unless disagreement is judged. */
  comparedWith(model: string, version: number): number | undefined {
    const { plan, trial } = this.#deployments.get(model) ?? {}
    if (!plan || trial?.policy.disagreement === undefined || plan.canary?.version !== version) return undefined
    return plan.targets[0].version
  }

  compared(model: string, version: number, disagreed: boolean) {
    const deployment = this.#deployments.get(model)
    if (deployment?.plan.canary?.version !== version) return
    deployment.trial?.compared(disagreed)
    this.#judge(deployment)
  }

  /** Counts the right label of an answer that was given at a time. */
  labelled({ model, version, right, at }: { model: string; version: number; right: boolean; at: string }) {
    const deployment = this.#deployments.get(model)
    const { canary, targets } = deployment?.plan ?? {}
    if (!deployment || !canary || !targets || at < canary.since) return
    if (version !== canary.version && version !== targets[0].version) return
    deployment.trial?.labelled(version === canary.version, right, shareOf(deployment.plan, canary.version))
    this.#judge(deployment)
  }

  /** Carries out an order; versions are in memory and warm before requests come to them. Throws DEPLOYMENT_INVALID. */
  async deploy(model: string, order: Order, who: string): Promise<void> {
    const { plan: now } = this.#deployments.get(model) ?? {}
    const newest = (await this.#registry.resolve(model)).version
    const stable = now?.targets[0].version ?? newest
    const { plan, what, detail } = planned(model, order, stable, now)
    const versions = await Promise.all(versionsOf(plan).map((one) => this.#registry.resolve(`${model}@${one}`)))
    for (const version of versions) checkAlike(versions[0], version)
    for (const version of versions) await this.prepare(version)
    await this.#change(deploymentOf(model, plan), { who, what, detail })
  }

  /** Goes back: ends a trial, else the last change of version. Throws MODEL_NOT_FOUND, DEPLOYMENT_NOT_FOUND or DEPLOYMENT_INVALID. */
  async rollback(model: string, who: string, detail = 'by hand'): Promise<void> {
    const { plan } = await this.#get(model)
    const [stable] = plan.targets
    const to = plan.targets.length > 1 ? stable.version : plan.previous
    if (to === undefined) throw fail('DEPLOYMENT_INVALID', { name: model, reason: 'there is nothing to go back to' })
    await this.#change(deploymentOf(model, onlyOf(plan, to)), { who, what: 'rollback', detail: `to ${to}: ${detail}` })
  }

  /** Gives a canary all requests. Throws MODEL_NOT_FOUND, DEPLOYMENT_NOT_FOUND or DEPLOYMENT_INVALID. */
  async promote(model: string, who: string, detail = 'by hand'): Promise<void> {
    const { plan } = await this.#get(model)
    if (!plan.canary) throw fail('DEPLOYMENT_INVALID', { name: model, reason: 'it has no canary to promote' })
    const { version } = plan.canary
    const next = { ...onlyOf(plan, version), previous: plan.targets[0].version }
    await this.#change(deploymentOf(model, next), { who, what: 'promote', detail: `${version}: ${detail}` })
  }

  /** Ends a deployment: the newest version answers again. */
  async remove(model: string, who: string): Promise<void> {
    await this.#get(model)
    await this.#records.remove(model, { who, detail: 'the newest version answers again' })
    this.#deployments.delete(model)
    this.forget()
    this.onChange(model, { who, what: 'remove', detail: '' })
  }

  /** Throws VERSION_DEPLOYED if a version is part of a plan. */
  checkFree(model: string, version: number) {
    const deployment = this.#deployments.get(model)
    if (deployment && versionsOf(deployment.plan).includes(version))
      throw fail('VERSION_DEPLOYED', { name: model, version })
  }

  list() {
    return [...this.#deployments.values()].map(({ model, plan, trial, found }) => ({
      model,
      plan,
      ...(trial && { trial: trial.report }),
      ...(found !== undefined && { found }),
    }))
  }

  has(model: string): boolean {
    return this.#deployments.has(model)
  }

  changes(filter: { ref?: string; limit?: number }): Promise<DeploymentChange[]> {
    return this.#records.changes(filter)
  }

  servingOf(model: string): Serving {
    return this.#servings.get(model) ?? {}
  }

  /** Models that are kept in memory. */
  get pinned(): string[] {
    return [...this.#servings].filter(([, { pinned }]) => pinned).map(([model]) => model)
  }

  /** Changes how a model is served; `null` takes a setting back. */
  async setServing(model: string, changes: { [K in keyof Serving]?: Serving[K] | null }): Promise<Serving> {
    const next = Object.fromEntries(
      Object.entries({ ...this.servingOf(model), ...changes }).filter(([, value]) => value !== null),
    ) as Serving
    await this.#records.setServing(model, next)
    this.#servings.set(model, next)
    return next
  }

  async close() {
    clearInterval(this.#saver)
    await this.#saveEvidence()
  }

  async #get(model: string): Promise<Deployment> {
    const deployment = this.#deployments.get(model)
    if (deployment) return deployment
    await this.#registry.resolve(model)
    throw fail('DEPLOYMENT_NOT_FOUND', { name: model })
  }

  /** Acts on what a trial has found, once. */
  #judge(deployment: Deployment) {
    const { model, plan, trial } = deployment
    const found = trial?.verdict
    deployment.dirty = true
    if (!found || !plan.canary) return
    if (!plan.canary.policy.automatic) {
      deployment.found = `${found.verdict}: ${found.detail}`
      return
    }
    delete deployment.trial
    const act = found.verdict === 'worse' ? this.rollback : this.promote
    act.call(this, model, ITSELF, found.detail).catch((error: unknown) => this.onError(error))
  }

  /**
   * Requests follow a plan once it is kept. What a test found is followed also where it cannot be kept: a worse version
   * must not go on answering because the database is away; a restart begins the test with what was last saved of it.
   */
  async #change(next: Deployment, change: { who: string; what: string; detail: string }) {
    const { model, plan, trial } = next
    const before = this.#deployments.get(model)?.plan
    try {
      const from = change.who === ITSELF ? before : undefined
      const kept = await this.#records.change({ ref: model, model, plan, evidence: trial ?? null }, change, from)
      if (!kept) return this.reload() // another process was before us
    } catch (error) {
      if (change.who !== ITSELF) throw error
      this.onError(error)
    }
    this.#deployments.set(model, next)
    this.forget()
    this.onChange(model, change)
  }

  async #saveEvidence() {
    for (const deployment of this.#deployments.values()) {
      if (!deployment.dirty || !deployment.trial) continue
      deployment.dirty = false
      await this.#records
        .saveEvidence(deployment.model, deployment.trial)
        .catch((error: unknown) => this.onError(error))
    }
  }
}

const deploymentOf = (model: string, plan: Plan, saved?: SavedTrial | null): Deployment => ({
  model,
  plan,
  ...(plan.canary && { trial: new Trial(plan.canary.policy, saved ?? undefined) }),
})

/** A plan in which one version answers everything. */
const onlyOf = ({ shadow, previous }: Plan, version: number): Plan => ({
  targets: [{ version, weight: 100 }],
  ...(shadow && shadow.version !== version && { shadow }),
  ...(previous !== undefined && previous !== version && { previous }),
})

/** The plan that an order makes of the present one, and what the trail says of it. Throws DEPLOYMENT_INVALID. */
function planned(model: string, order: Order, stable: number, now: Plan | undefined) {
  const { version, canary, weight = 10, weights, shadow, share = 1, policy } = order
  const refuse = (reason: string) => fail('DEPLOYMENT_INVALID', { name: model, reason })
  if ([version, canary, weights].filter((given) => given !== undefined).length > 1)
    throw refuse('give one of a version, a canary and weights')
  const kept = now ?? { targets: [{ version: stable, weight: 100 }] }
  let plan: Plan = kept
  let what = 'shadow'
  let detail = ''
  if (version !== undefined) {
    plan = { ...onlyOf(kept, version), ...(now && version !== stable && { previous: stable }) }
    what = 'deploy'
    detail = `${version}`
  } else if (canary !== undefined) {
    if (canary === stable) throw refuse(`version ${canary} is the stable one already`)
    const targets = [
      { version: stable, weight: 100 - weight },
      { version: canary, weight },
    ]
    const judged = { version: canary, policy: { ...defaultPolicy, ...policy }, since: new Date().toISOString() }
    plan = { ...onlyOf(kept, stable), targets, canary: judged }
    what = 'canary'
    detail = `${canary} with ${weight} %`
  } else if (weights !== undefined) {
    const targets = Object.entries(weights).map(([number, share]) => ({ version: Number(number), weight: share }))
    if (targets.length === 0 || targets.every((target) => target.weight === 0)) throw refuse('no version has a weight')
    targets.sort((a, b) => b.weight - a.weight)
    plan = { ...onlyOf(kept, targets[0].version), targets }
    what = 'weights'
    detail = targets.map((target) => `${target.version}: ${target.weight}`).join(', ')
  } else if (shadow === undefined) throw refuse('nothing was asked for')
  if (shadow === undefined) return { plan, what, detail }
  const { shadow: _before, ...rest } = plan
  const mirrored = shadow > 0 ? `shadow ${shadow} for ${100 * share} % of requests` : 'no shadow'
  return {
    plan: shadow > 0 ? { ...rest, shadow: { version: shadow, share } } : rest,
    what,
    detail: [detail, mirrored].filter(Boolean).join(', '),
  }
}
