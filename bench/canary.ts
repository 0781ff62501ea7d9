// npm run -s bench -- canary: how often trials of simulated versions end rightly, and after how many requests.
import { random } from '../src/base/random.ts'
import { defaultPolicy, Trial } from '../src/serve/trial.ts'
import { median } from './lib/statistics.ts'
import type { Result } from './main.ts'

export const description = 'simulated canaries: false and true roll-backs and promotions of the sequential test'

/** Shares of failed requests, and mean latencies, of the stable version and of the candidate. */
const worlds: Record<string, { errors: [number, number]; ms: [number, number] }> = {
  'equal, no failures': { errors: [0, 0], ms: [10, 10] },
  'equal, 1 % failures': { errors: [0.01, 0.01], ms: [10, 10] },
  'equal, 10 % failures': { errors: [0.1, 0.1], ms: [10, 10] },
  'failures 1 % against 2 %': { errors: [0.01, 0.02], ms: [10, 10] },
  'failures 1 % against 5 %': { errors: [0.01, 0.05], ms: [10, 10] },
  'half as long again': { errors: [0, 0], ms: [10, 15] },
  'twice as long': { errors: [0, 0], ms: [10, 20] },
}
const TRIALS = 300
const LIMIT = 50_000
const WEIGHT = 0.1

function trial(seed: number, { errors, ms }: (typeof worlds)[string]) {
  const [draw, one] = [random(seed), new Trial(defaultPolicy)]
  for (let n = 1; n <= LIMIT; n++) {
    const ofCandidate = draw() < WEIGHT
    const at = ofCandidate ? 1 : 0
    one.add({ ofCandidate, failed: draw() < errors[at], ms: -Math.log(1 - draw()) * ms[at] }, WEIGHT)
    const found = n % 10 === 0 ? one.verdict : undefined
    if (found) return { verdict: found.verdict, requests: n }
  }
  return { verdict: 'undecided', requests: LIMIT }
}

export async function run(log: (line: string) => void): Promise<Result[]> {
  const results: Result[] = []
  for (const [name, world] of Object.entries(worlds)) {
    const ends = Array.from({ length: TRIALS }, (_, seed) => trial(seed + 1, world))
    for (const verdict of ['worse', 'fine']) {
      const such = ends.filter((end) => end.verdict === verdict)
      const measure = `${name}: ${verdict === 'worse' ? 'rolled back' : 'promoted'}`
      results.push({ measure, value: (100 * such.length) / TRIALS, unit: '%' })
      if (such.length > TRIALS / 2)
        results.push({ measure: '  requests until then', value: median(such.map((end) => end.requests)), unit: '' })
    }
    log(name)
  }
  return results
}
