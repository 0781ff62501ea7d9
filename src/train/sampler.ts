import { normalAt, streamOf, uniformAt } from '../base/counter.ts'

/** What values an option may take in a search. */
export type Domain =
  | { kind: 'number'; low: number; high: number; log?: boolean; integer?: boolean }
  | { kind: 'choice'; values: readonly (number | string | boolean)[] }
export type Space = Record<string, Domain>
export type Point = Record<string, number | string | boolean>

/** A point that was tried and its score; more is better. */
export interface Observation {
  point: Point
  score: number
}

/** Points tried at random before their scores say anything. */
const STARTUP = 8
/** Points drawn, of which the most promising is taken. */
const DRAWN = 24
/** The share of the best points tried. */
const GOOD = 0.2

/** The n-th point of a search at random, from seed and n alone. */
export const randomPoint = (space: Space, seed: number, n: number): Point =>
  Object.fromEntries(
    Object.entries(space).map(([name, domain]) => [
      name,
      valueAt(domain, uniformAt(seed, streamOf(`random ${name}`), n)),
    ]),
  )

/**
 * The n-th point of a search that learns, a tree-structured Parzen estimator (Bergstra et al. 2011): of points drawn near
 * the good ones, the one that is likeliest among the good and least among the others. Depends on seed, n and what was tried.
 */
export function parzenPoint(space: Space, seed: number, n: number, tried: readonly Observation[]): Point {
  if (tried.length < STARTUP) return randomPoint(space, seed, n)
  const sorted = tried.toSorted((a, b) => b.score - a.score)
  const count = Math.max(2, Math.ceil(GOOD * sorted.length))
  const [good, others] = [sorted.slice(0, count), sorted.slice(count)]
  return Object.fromEntries(
    Object.entries(space).map(([name, domain]) => {
      const stream = streamOf(`parzen ${name}`)
      const draw = (i: number) => uniformAt(seed, stream, (n * DRAWN + i) * 4)
      const placed = (list: readonly Observation[]) => list.map(({ point }) => placeOf(domain, point[name]))
      const [near, far] = [density(domain, placed(good)), density(domain, placed(others))]
      let best = { value: valueAt(domain, draw(0)), promise: Number.NEGATIVE_INFINITY }
      for (let i = 0; i < DRAWN; i++) {
        const place = near.draw(draw(i), normalAt(seed, stream ^ 1, n * DRAWN + i))
        const promise = Math.log(near.at(place)) - Math.log(far.at(place))
        if (promise > best.promise) best = { value: valueAt(domain, place), promise }
      }
      return [name, best.value]
    }),
  )
}

/** A value from its place between 0 and 1. */
function valueAt(domain: Domain, place: number): number | string | boolean {
  if (domain.kind === 'choice')
    return domain.values[Math.min(domain.values.length - 1, Math.floor(place * domain.values.length))]
  const { low, high, log, integer } = domain
  const value = log ? low * (high / low) ** place : low + (high - low) * place
  return integer ? Math.round(value) : Number(value.toPrecision(4))
}

function placeOf(domain: Domain, value: number | string | boolean): number {
  if (domain.kind === 'choice') return (Math.max(0, domain.values.indexOf(value)) + 0.5) / domain.values.length
  const { low, high, log } = domain
  return log ? Math.log(Number(value) / low) / Math.log(high / low) : (Number(value) - low) / (high - low)
}

/** How likely places are near those told: bells around each and an even share everywhere; for choices, counts and one each. */
function density(domain: Domain, places: readonly number[]) {
  if (domain.kind === 'choice') {
    const size = domain.values.length
    const counts = new Array<number>(size).fill(1)
    for (const place of places) counts[Math.min(size - 1, Math.floor(place * size))]++
    const all = places.length + size
    return {
      at: (place: number) => counts[Math.min(size - 1, Math.floor(place * size))] / all,
      draw(u: number) {
        let i = 0
        for (let sum = counts[0] / all; i < size - 1 && sum <= u; sum += counts[i] / all) i++
        return (i + 0.5) / size
      },
    }
  }
  const width = Math.max(0.04, 0.2 * places.length ** -0.5)
  const bell = (x: number) => Math.exp(-0.5 * (x / width) ** 2) / (width * Math.sqrt(2 * Math.PI))
  return {
    at: (place: number) => places.reduce((sum, centre) => sum + bell(place - centre), 1) / (places.length + 1),
    draw(u: number, normal: number) {
      const i = Math.floor(u * (places.length + 1))
      if (i === places.length) return (u * (places.length + 1)) % 1
      return Math.min(1, Math.max(0, places[i] + width * normal))
    },
  }
}
