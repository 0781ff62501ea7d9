/** What is learnt of an input: one label, any number of labels, or a number. */
export const problems = ['classification', 'multi-label', 'regression'] as const
export type Problem = (typeof problems)[number]

/** The output of a served text model that answers each. */
export const outputOf = {
  classification: 'probabilities',
  'multi-label': 'probabilities',
  regression: 'values',
} as const satisfies Record<Problem, string>
