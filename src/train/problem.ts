import type { Problem } from '../base/problem.ts'
import type { RunSpec } from './events.ts'

/** What a run learns: as told, else several labels where its rows may have them, else one. */
export const problemOf = ({ problem, read }: Pick<RunSpec, 'problem' | 'read'>): Problem =>
  problem ?? (read?.separator !== undefined || read?.labelColumns ? 'multi-label' : 'classification')
