/** How a training stands: its scores by epoch, and how many epochs it would have in all. */
export interface Standing {
  readonly trial: number
  readonly epochs: number
  readonly planned?: number
  readonly scores: readonly number[]
}

export type Better = 'higher' | 'lower'

/** How far a training is, and how long that took. */
type Timed = Pick<Standing, 'epochs' | 'planned'> & { readonly minutes: number }

/** Milliseconds that a training still wants, at the pace that it had; Infinity before its first epoch. */
export const wants = ({ minutes, epochs, planned = epochs }: Timed): number =>
  epochs === 0 ? Number.POSITIVE_INFINITY : (60_000 * minutes * (planned - epochs)) / epochs

/**
 * Those that are given up when all have had their share of the time: the best stays, and each next that can end in what remains
 * of `left` milliseconds; so does one without an epoch yet, of which nothing is known.
 */
export function behind<T extends Standing & Timed>(among: readonly T[], better: Better, left: number): T[] {
  const known = among.filter(({ epochs }) => epochs > 0)
  let taken = 0
  const gone = rankAlike(known, better).filter(({ trial }, at) => {
    if (at > 0 && taken + wants(trial) > left) return true
    taken += wants(trial)
    return false
  })
  return gone.map(({ trial }) => trial)
}

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
