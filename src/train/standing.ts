/** How a training stands: its scores by epoch, and how many epochs it would have in all. */
export interface Standing {
  readonly trial: number
  readonly epochs: number
  readonly planned?: number
  readonly scores: readonly number[]
}

export type Better = 'higher' | 'lower'

/** Trainings with their best scores within the share of their epochs that all of them have reached, best first; the earlier of equals. */
export function rankAlike<T extends Standing>(among: readonly T[], better: Better): { trial: T; score: number }[] {
  const share = Math.min(...among.map(({ epochs, planned = epochs }) => epochs / planned))
  const best = better === 'higher' ? Math.max : Math.min
  const alike = among.map((trial) => {
    const { scores, planned = scores.length } = trial
    return { trial, score: best(...scores.slice(0, Math.max(1, Math.floor(share * planned + 1e-9)))) }
  })
  const sign = better === 'higher' ? -1 : 1
  return alike.sort((a, b) => sign * (a.score - b.score) || a.trial.trial - b.trial.trial)
}
