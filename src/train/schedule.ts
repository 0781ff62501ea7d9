/** How the learning rate changes from step 0 to `steps`; shares of `peak`, the largest. */
export type Schedule = (step: number, steps: number, warmup: number) => number

/** A rise over the steps of warm-up, then what `fall` makes of the share of the rest that is over. */
const rising =
  (fall: (over: number) => number): Schedule =>
  (step, steps, warmup) => {
    const rise = Math.max(1, Math.round(warmup * steps))
    return Math.min(1, (step + 1) / rise) * fall(Math.max(0, step - rise) / Math.max(1, steps - rise))
  }

/** Half a cosine wave from one value to another. */
const wave = (from: number, to: number, over: number) => to + ((from - to) / 2) * (1 + Math.cos(Math.PI * over))

/** One cycle (Smith & Topin 2019), as PyTorch draws it: up from 1/25 over 30 % of the steps, down to 1/250,000. */
const CYCLE = { start: 1 / 25, end: 1 / 25 / 1e4, rise: 0.3 }

export const schedules = {
  linear: rising((over) => Math.max(0, 1 - over)),
  cosine: rising((over) => wave(1, 0, Math.min(1, over))),
  constant: rising(() => 1),
  'one-cycle': (step, steps) => {
    const top = CYCLE.rise * steps - 1
    if (step <= top) return wave(CYCLE.start, 1, top <= 0 ? 1 : step / top)
    return wave(1, CYCLE.end, Math.min(1, (step - top) / Math.max(1, steps - 1 - top)))
  },
} as const satisfies Record<string, Schedule>
