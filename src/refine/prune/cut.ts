import type { Weights } from '../../train/checkpoint.ts'
import type { UnitSet } from './units.ts'

/** The units of a set that stay: the `count` most important, in their old order. */
export function keepBest(importance: Float64Array, count: number): Set<number> {
  const order = [...importance.keys()].sort((a, b) => importance[b] - importance[a] || a - b)
  return new Set(order.slice(0, count))
}

/** Takes out all numbers of the units that do not stay. Sets of one kind must keep equally many. */
export function cutUnits(weights: Weights, sets: readonly UnitSet[], kept: readonly ReadonlySet<number>[]): Weights {
  const result = { ...weights }
  const places = new Map<
    string,
    { parameter: string; axis: number; stays: ((index: number, part: number) => boolean)[] }
  >()
  sets.forEach(({ axes }, s) => {
    for (const { parameter, axis, part, unitOf } of axes) {
      const key = `${parameter} ${axis}`
      const place = places.get(key) ?? { parameter, axis, stays: [] }
      places.set(key, place)
      place.stays.push((index, at) => {
        const unit = part === undefined || part === at ? unitOf(index) : undefined
        return unit === undefined || kept[s].has(unit)
      })
    }
  })
  for (const { parameter, axis, stays } of places.values()) {
    const tensor = result[parameter]
    result[parameter] = cutAxis(tensor, axis, (index, part) => stays.every((stay) => stay(index, part)))
  }
  return result
}

/** Keeps the indices of an axis for which `stays` holds; `part` is the index on the first axis. */
function cutAxis(
  { dims, data }: Weights[string],
  axis: number,
  stays: (index: number, part: number) => boolean,
): Weights[string] {
  const inside = dims.slice(axis + 1).reduce((a, b) => a * b, 1)
  const outside = dims.slice(0, axis).reduce((a, b) => a * b, 1)
  const pieces: Float32Array[] = []
  let left = 0
  for (let out = 0; out < outside; out++) {
    const part = axis === 0 ? 0 : Math.floor(out / (outside / dims[0]))
    for (let i = 0; i < dims[axis]; i++) {
      if (!stays(i, part)) continue
      left++
      const start = (out * dims[axis] + i) * inside
      pieces.push(data.subarray(start, start + inside))
    }
  }
  const cut = new Float32Array(left * inside)
  pieces.forEach((piece, i) => {
    cut.set(piece, i * inside)
  })
  return { dims: dims.map((dim, i) => (i === axis ? left / outside : dim)), data: cut }
}
