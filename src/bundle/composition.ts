import { type Static, Type } from '../base/schema.ts'

const Name = Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z0-9][a-z0-9._-]*$' })

/** A node of a composition: a model's own answer, the mean of several nodes', or that of the node that a label leads to. */
const Step = Type.Union([
  Type.Object({ model: Type.String({ maxLength: 300 }) }, { additionalProperties: false }),
  Type.Object(
    {
      average: Type.Array(Name, { minItems: 1, maxItems: 16 }),
      weights: Type.Optional(Type.Array(Type.Number({ exclusiveMinimum: 0 }), { minItems: 1, maxItems: 16 })),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    {
      /** The node whose best label chooses. */
      route: Name,
      cases: Type.Record(Type.String({ maxLength: 300 }), Name, { maxProperties: 64 }),
      /** Where labels without a case lead. */
      otherwise: Name,
    },
    { additionalProperties: false },
  ),
])
export type Step = Static<typeof Step>

/** A graph of classifiers that answers as one: named nodes, and the node that is the answer. */
export const Composition = Type.Object(
  { nodes: Type.Record(Name, Step, { maxProperties: 32 }), output: Name },
  { additionalProperties: false },
)
export type Composition = Static<typeof Composition>

/** The nodes that a node asks. */
export function inputsOf(step: Step): string[] {
  if ('model' in step) return []
  return 'average' in step ? step.average : [step.route, ...Object.values(step.cases), step.otherwise]
}
