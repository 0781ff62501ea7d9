import { createHash } from 'node:crypto'
import { fail } from '../base/errors.ts'
import { type Static, Type } from '../base/schema.ts'
import type { Version } from '../registry/registry.ts'
import { Policy } from './trial.ts'

const Target = Type.Object({
  version: Type.Integer({ minimum: 1 }),
  weight: Type.Number({ minimum: 0, maximum: 100, description: 'Percent of the requests' }),
})

/** Which versions answer for a model: the first is the stable one. */
export const Plan = Type.Object({
  targets: Type.Array(Target, { minItems: 1 }),
  /** The target that is being tried, and how it is judged. */
  canary: Type.Optional(Type.Object({ version: Type.Integer(), policy: Policy, since: Type.String() })),
  /** A version that is asked as well, in its share of the requests, without its answers being used. */
  shadow: Type.Optional(Type.Object({ version: Type.Integer(), share: Type.Number() })),
  /** What a roll-back goes back to. */
  previous: Type.Optional(Type.Integer()),
})
export type Plan = Static<typeof Plan>

/** What is to become of a deployment: a version for all requests, a candidate beside the stable one, weights, or a shadow. */
export const Order = Type.Object(
  {
    version: Type.Optional(Type.Integer({ minimum: 1, description: 'Answers all requests from now on' })),
    canary: Type.Optional(Type.Integer({ minimum: 1, description: 'Is tried beside the stable version' })),
    weight: Type.Optional(
      Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 100, description: 'Percent of requests for the canary' }),
    ),
    weights: Type.Optional(
      Type.Record(Type.String({ pattern: '^[0-9]+$' }), Type.Number({ minimum: 0, maximum: 100 }), {
        description: 'Percent of requests by version, without a test',
      }),
    ),
    shadow: Type.Optional(Type.Integer({ minimum: 0, description: 'Is asked as well, without answering; 0 ends it' })),
    share: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1, description: 'Of requests for the shadow' })),
    policy: Type.Optional(Type.Partial(Policy, { additionalProperties: false })),
  },
  { additionalProperties: false },
)
export type Order = Static<typeof Order>

/** The version of a plan at a place from 0 to 1. */
export function versionAt({ targets }: Plan, place: number): number {
  let left = place * targets.reduce((sum, { weight }) => sum + weight, 0)
  for (const { version, weight } of targets) {
    left -= weight
    if (left < 0) return version
  }
  return targets[0].version
}

/** A number from 0 to 1 that a key always has under a name, the same on every machine. */
export function placeOf(name: string, key: string): number {
  return createHash('sha256').update(`${name}\0${key}`).digest().readUInt32BE(0) / 2 ** 32
}

/** Share of a plan's requests that come to a version. */
export function shareOf({ targets }: Plan, version: number): number {
  const total = targets.reduce((sum, { weight }) => sum + weight, 0)
  return (targets.find((target) => target.version === version)?.weight ?? 0) / total
}

/** All versions that a plan names. */
export const versionsOf = ({ targets, shadow }: Plan): number[] => [
  ...new Set([...targets.map(({ version }) => version), ...(shadow ? [shadow.version] : [])]),
]

/** Versions of one deployment must be interchangeable for callers; throws DEPLOYMENT_INVALID naming what differs. */
export function checkAlike(first: Version, other: Version) {
  const what = (version: Version) => {
    const { task, labels, signature } = version.manifest
    return { task, labels, inputs: signature.inputs, outputs: signature.outputs }
  }
  const [a, b] = [what(first), what(other)]
  for (const part of ['task', 'labels', 'inputs', 'outputs'] as const) {
    if (JSON.stringify(a[part]) === JSON.stringify(b[part])) continue
    // what goes into and out of the graph of a task is the task's own matter
    if (a.task === b.task && a.task !== 'tensor' && (part === 'inputs' || part === 'outputs')) continue
    const reason = `versions ${first.version} and ${other.version} differ in ${part}`
    throw fail('DEPLOYMENT_INVALID', { name: first.name, reason })
  }
}
