/** What is learnt of an input: one label, any number of labels, or a number. */
export const problems = ['classification', 'multi-label', 'regression'] as const
export type Problem = (typeof problems)[number]
