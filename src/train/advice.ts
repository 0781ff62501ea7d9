import { type Problem, problems } from '../base/problem.ts'
import { type Static, Type } from '../base/schema.ts'

/** A family with options to try, why, and how long it may take. */
export const Candidate = Type.Object({
  family: Type.String(),
  options: Type.Record(Type.String(), Type.Union([Type.Number(), Type.String(), Type.Boolean()])),
  /** In words. */
  reasons: Type.Array(Type.String()),
  /** Estimated seconds of training on this machine. */
  seconds: Type.Number(),
})
export type Candidate = Static<typeof Candidate>

/** What is seen in the data, and what to try, best first. */
export const Advice = Type.Object({
  task: Type.String(),
  problem: Type.Unsafe<Problem>({ type: 'string', enum: [...problems] }),
  rows: Type.Object({ read: Type.Integer(), kept: Type.Integer() }),
  labels: Type.Record(Type.String(), Type.Integer()),
  /** Rows of the commonest label for one of the rarest. */
  imbalance: Type.Number(),
  /** Percentiles of characters a row. */
  characters: Type.Record(Type.String(), Type.Number()),
  scripts: Type.Record(Type.String(), Type.Number()),
  removed: Type.Record(Type.String(), Type.Integer()),
  /** What stands out, in words. */
  notes: Type.Array(Type.String()),
  candidates: Type.Array(Candidate),
})
export type Advice = Static<typeof Advice>
