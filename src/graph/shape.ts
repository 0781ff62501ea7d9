import { fail } from '../base/errors.ts'
import type { Tensor } from './tensor.ts'
import { type DataType, numbers } from './tensor.ts'

/** A dimension: a number, or a symbol such as `batch` that stands for one unknown number throughout a graph. */
export type Dim = number | string
export type Shape = readonly Dim[]

/**
 * What is known of a value. `shape` is undefined when not even the rank is known. `ints` holds the elements of a small
 * integer tensor where they are known (constants, shapes), so that shapes computed in the graph can be followed.
 */
export interface Type {
  readonly dtype: DataType | undefined
  readonly shape: Shape | undefined
  readonly ints?: readonly Dim[]
}

/** A new symbol, different from every other. */
export const unknown = (() => {
  let count = 0
  return (): string => `?${++count}`
})()

export const typeOf = (tensor: Tensor): Type => ({
  dtype: tensor.dtype,
  shape: tensor.dims,
  ...((tensor.dtype === 'int64' || tensor.dtype === 'int32') && tensor.data.length <= 64 && { ints: numbers(tensor) }),
})

/** Product of dimensions: a number if all are, a fresh symbol otherwise (a lone symbol among ones stays itself). */
export function product(dims: Shape): Dim {
  const symbols = dims.filter((dim) => typeof dim === 'string')
  const rest = dims.reduce<number>((total, dim) => (typeof dim === 'number' ? total * dim : total), 1)
  if (symbols.length === 0 || rest === 0) return rest
  return symbols.length === 1 && rest === 1 ? symbols[0] : unknown()
}

/** NumPy broadcasting; undefined if any rank is unknown. Throws MODEL_INVALID for sizes that do not fit. */
export function broadcast(shapes: readonly (Shape | undefined)[], where: string): Shape | undefined {
  let result: Dim[] = []
  for (const shape of shapes) {
    if (!shape) return undefined
    const rank = Math.max(result.length, shape.length)
    const left = [...Array(rank - result.length).fill(1), ...result]
    const right = [...Array(rank - shape.length).fill(1), ...shape]
    result = left.map((dim, i) => both(dim, right[i], where, shapes))
  }
  return result
}

function both(a: Dim, b: Dim, where: string, shapes: readonly (Shape | undefined)[]): Dim {
  if (a === b || b === 1) return a
  if (a === 1) return b
  // a number other than 1 decides over a symbol: the symbol can only be that number or 1
  if (typeof a === 'number' && typeof b === 'number') {
    throw fail('MODEL_INVALID', {
      reason: `${where}: shapes ${shapes.map((s) => `[${s}]`).join(' and ')} do not broadcast`,
    })
  }
  return typeof a === 'number' ? a : typeof b === 'number' ? b : unknown()
}

/** An axis counted from the front; throws MODEL_INVALID when it is outside the rank. */
export function axisOf(axis: number, rank: number, where: string): number {
  if (axis < -rank || axis >= rank)
    throw fail('MODEL_INVALID', { reason: `${where}: axis ${axis} of a rank-${rank} tensor` })
  return axis < 0 ? axis + rank : axis
}
