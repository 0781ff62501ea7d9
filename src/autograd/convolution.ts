import { fail } from '../base/errors.ts'
import { intOf, intsOf, stringOf } from '../graph/attributes.ts'
import type { Node, Value } from '../graph/builder.ts'
import * as o from '../graph/ops.ts'
import type { Shape } from '../graph/shape.ts'
import { markFilterGradient } from './filters.ts'
import { product, type Rule, rule } from './rule.ts'

/** What a convolution or pooling window does along each spatial axis. */
export interface Geometry {
  readonly kernel: readonly number[]
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** Padding before and after each axis. */
  readonly begin: readonly number[]
  readonly end: readonly number[]
  readonly group: number
}

/**
 * The geometry of a Conv, ConvTranspose or pooling node whose windows slide over `input` (batch, channels, …); throws
 * UNSUPPORTED where `auto_pad` depends on a size that is not known.
 */
export function geometryOf({ proto }: Node, input: Shape, output: Shape, kernel: readonly number[]): Geometry {
  const rank = kernel.length
  const strides = intsOf(proto, 'strides') ?? Array<number>(rank).fill(1)
  const dilations = intsOf(proto, 'dilations') ?? Array<number>(rank).fill(1)
  const group = intOf(proto, 'group', 1)
  const auto = stringOf(proto, 'auto_pad', 'NOTSET')
  const pads = intsOf(proto, 'pads') ?? Array<number>(2 * rank).fill(0)
  if (!auto.startsWith('SAME')) {
    const given = auto === 'VALID' ? pads.map(() => 0) : pads
    return { kernel, strides, dilations, begin: given.slice(0, rank), end: given.slice(rank), group }
  }
  const total = kernel.map((k, i) => {
    const reach = dilations[i] * (k - 1) + 1
    const [size, windows] = [input[i + 2], output[i + 2]]
    if (strides[i] === 1) return reach - 1
    if (typeof size === 'number' && typeof windows === 'number')
      return Math.max(0, (windows - 1) * strides[i] + reach - size)
    const what = `the gradient of ${proto.opType} "${proto.name}" with auto_pad over an axis of unknown size`
    throw fail('UNSUPPORTED', { what, instead: 'Export the model with explicit pads, or with a fixed input size.' })
  })
  const small = total.map((pad) => Math.floor(pad / 2))
  const large = total.map((pad) => Math.ceil(pad / 2))
  const [begin, end] = auto === 'SAME_LOWER' ? [large, small] : [small, large]
  return { kernel, strides, dilations, begin, end, group }
}

const reachOf = ({ kernel, dilations }: Geometry, i: number) => dilations[i] * (kernel[i] - 1)
const each = (rank: number) => Array.from({ length: rank }, (_, i) => i)

/** Gradient of a convolution's input, in the shape of `like`: dy (batch, filters, …), weight (filters, channels / group, …). */
export function inputGradient(dy: Value, weight: Value, like: Value, at: Geometry): Value {
  const { kernel, strides, dilations, begin, end, group } = at
  const axes = each(kernel.length)
  const pads = [...axes.map((i) => reachOf(at, i) - begin[i]), ...axes.map((i) => reachOf(at, i) - end[i])]
  // a convolution with the turned filters: ConvTranspose takes up to twice as long in onnxruntime
  if (strides.every((s) => s === 1) && pads.every((pad) => pad >= 0))
    return dy.graph.node('Conv', [dy, turned(weight, group)], { pads, dilations, group, kernel_shape: kernel })[0]
  const missing = axes.map((i) => {
    const [size, windows] = [like.shape[i + 2], dy.shape[i + 2]]
    if (typeof size !== 'number' || typeof windows !== 'number') return undefined
    return size - (strides[i] * (windows - 1) + reachOf(at, i) + 1 - begin[i] - end[i])
  })
  const known = missing.every((m) => m !== undefined)
  const [spread] = dy.graph.node('ConvTranspose', [dy, weight], {
    ...{ strides, dilations, group, pads: [...begin, ...end], kernel_shape: kernel },
    output_padding: known ? missing : undefined,
  })
  return known ? spread : grownTo(spread, like)
}

/** Adds zeros after each axis up to the size of `like`, where sizes are known only when the graph runs. */
function grownTo(x: Value, like: Value): Value {
  const size = o.shapeValue(like)
  const after = o.sub(size, o.shapeOf(x))
  const pads = o.concat([o.ints(x, Array<number>(like.shape.length).fill(0)), after], 0)
  return o.reshape(x.graph.node('Pad', [x, pads])[0], size)
}

/** Filters mirrored along their spatial axes, input and output channels exchanged within each group. */
function turned(weight: Value, group: number): Value {
  const [filters, channels, ...kernel] = weight.shape.map(Number)
  const swap = (x: Value, first: number) => {
    const order = [...x.shape.keys()]
    ;[order[first], order[first + 1]] = [first + 1, first]
    return o.transpose(x, order)
  }
  const swapped =
    group === 1
      ? swap(weight, 0)
      : o.reshape(swap(o.reshape(weight, [group, filters / group, channels, ...kernel]), 1), [
          channels * group,
          filters / group,
          ...kernel,
        ])
  const axes = kernel.flatMap((k, i) => (k > 1 ? [i + 2] : []))
  if (axes.length === 0) return swapped
  const all = (value: number) => axes.map(() => value)
  return o.slice(swapped, all(-1), all(-(2 ** 31)), axes, all(-1))
}

/** Kernels of more taps than this are not unrolled. */
const MOST_TAPS = 49
/** From this many windows an image on, a product for each image is faster than one over all of them. */
const MANY_WINDOWS = 256

/** Gradient of a convolution's filters: x (batch, channels, …), dy (batch, filters, …) → (filters, channels / group, …kernel). */
function weightGradient(x: Value, dy: Value, at: Geometry): Value {
  const { kernel, group } = at
  const taps = kernel.reduce((a, b) => a * b, 1)
  const sizes = [...x.shape.slice(1), ...dy.shape.slice(1)]
  const known = sizes.every((size) => typeof size === 'number')
  if (group > 1 || !known) return exchanged(x, dy, at)
  const gradient =
    taps > MOST_TAPS ? exchanged(x, dy, at) : taps > 1 && slides(at, x, dy) ? shifted(x, dy, at) : unrolled(x, dy, at)
  if (kernel.length === 2) {
    const { strides, dilations, begin } = at
    markFilterGradient(gradient, { x: x.name, dy: dy.name, strides, dilations, begin })
  }
  return gradient
}

/** Whether windows move by one element along at most two axes, and no padding is wider than the kernel reaches. */
const slides = (at: Geometry, x: Value, dy: Value) =>
  at.kernel.length <= 2 &&
  at.strides.every((stride) => stride === 1) &&
  at.kernel.every((_, i) => at.begin[i] <= reachOf(at, i) && Number(dy.shape[i + 2]) <= 2 * Number(x.shape[i + 2]))

/**
 * As one matrix product an image. In an image whose rows are joined to one line, with zeros between them, each tap of
 * the kernel is a shift: those along a row are applied to x, those from row to row to dy, each by putting copies into one
 * line with the right number of zeros between them. That copies two lines instead of one for every tap.
 */
function shifted(x: Value, dy: Value, at: Geometry): Value {
  const flat = at.kernel.length === 1
  const square = (sizes: readonly number[], filler: number) => (flat ? [filler, ...sizes] : sizes)
  const [kh, kw] = square(at.kernel, 1)
  const [dh, dw] = square(at.dilations, 1)
  const [[top, left], [bottom, right]] = [square(at.begin, 0), square(at.end, 0)]
  const [height, width] = square(x.shape.slice(2).map(Number), 1)
  const [rows, columns] = square(dy.shape.slice(2).map(Number), 1)
  const [channels, filters] = [Number(x.shape[1]), Number(dy.shape[1])]
  const line = width + Math.max(left, right, columns - width) // a row and the zeros after it
  const reach = dw * (kw - 1)
  const grid = (height + top + bottom) * line
  const length = grid + reach

  const zeros = (like: Value, depth: number, count: number) =>
    o.constantOfShape(o.concat([o.dimension(like, 0), o.ints(like, [depth, count])], 0), 0, like.dtype)
  const spread = (value: Value, depth: number, size: readonly number[], pads: readonly number[]) => {
    const image = flat ? o.reshape(value, [0, depth, ...size]) : value
    const padded = pads.some((pad) => pad > 0) ? o.pad(image, [0, 0, pads[0], 0, 0, 0, pads[1], pads[2]]) : image
    return o.reshape(padded, [0, depth, -1])
  }
  const copies = (parts: (i: number) => Value[], count: number) =>
    o.concat(
      Array.from({ length: count }, (_, i) => parts(i))
        .flat()
        .filter((part) => part.shape[2] !== 0),
      2,
    )

  const image = spread(x, channels, [height, width], [top, bottom, line - width])
  const before = zeros(x, channels, left)
  const between = zeros(x, channels, reach + dw)
  const cut = left > 0 ? o.slice(image, [0], [grid - left], [2]) : image
  const along = copies((m) => [m > 0 ? between : before, m === kw - 1 ? cut : image], kw)

  const answer = spread(dy, filters, [rows, columns], [0, 0, line - columns])
  const first = zeros(dy, filters, reach)
  const down = zeros(dy, filters, length + dh * line - rows * line)
  const across = copies((i) => [i > 0 ? down : first, answer], kh)

  const each = product(
    o.reshape(across, [0, filters * kh, length]),
    o.reshape(along, [0, channels * kw, length]),
    false,
    true,
  )
  const all = o.reshape(o.reduceSum(each, [0]), [filters, kh, channels, kw])
  const turned = o.slice(o.transpose(all, [0, 2, 1, 3]), [-1], [-(2 ** 31)], [3], [-1])
  return flat ? o.reshape(turned, [filters, channels, kw]) : turned
}

/** As matrix products with what each tap of the kernel sees of x. */
function unrolled(x: Value, dy: Value, at: Geometry): Value {
  const { kernel, strides, dilations, begin, end } = at
  const [, channels] = x.shape.map(Number)
  const [, filters, ...windows] = dy.shape.map(Number)
  const axes = each(kernel.length)
  const padded = [...begin, ...end].some((pad) => pad > 0) ? o.pad(x, [0, 0, ...begin, 0, 0, ...end]) : x
  const seen = tapsOf(kernel).map((tap) => {
    const from = axes.map((i) => tap[i] * dilations[i])
    const to = axes.map((i) => from[i] + strides[i] * (windows[i] - 1) + 1)
    const whole = axes.every((i) => from[i] === 0 && strides[i] === 1 && to[i] === padded.shape[i + 2])
    const spatial = axes.map((i) => i + 2)
    return whole ? padded : o.slice(padded, from, to, spatial, strides)
  })
  const perImage = windows.reduce((a, b) => a * b, 1) >= MANY_WINDOWS
  const order = [1, 0, ...axes.map((i) => i + 2)]
  const product9 = perImage
    ? o.reduceSum(
        product(
          o.reshape(dy, [0, filters, -1]),
          o.reshape(o.concat(seen, 1), [0, seen.length * channels, -1]),
          false,
          true,
        ),
        [0],
      )
    : product(
        o.reshape(o.transpose(dy, order), [filters, -1]),
        o.reshape(
          o.concat(
            seen.map((part) => o.transpose(part, order)),
            0,
          ),
          [seen.length * channels, -1],
        ),
        false,
        true,
      ) // (filters, taps · channels)
  if (seen.length === 1) return o.reshape(product9, [filters, channels, ...kernel])
  return o.reshape(o.transpose(o.reshape(product9, [filters, seen.length, channels]), [0, 2, 1]), [
    filters,
    channels,
    ...kernel,
  ])
}

/** The positions of a kernel, the last axis fastest. */
function tapsOf(kernel: readonly number[]): number[][] {
  return kernel.reduce<number[][]>((all, size) => all.flatMap((tap) => each(size).map((i) => [...tap, i])), [[]])
}

/**
 * As a convolution itself, batch and channels exchanged: dy is the kernel, strides and dilations change places. For
 * groups, sizes that are known only at run time, and large kernels.
 */
function exchanged(x: Value, dy: Value, at: Geometry): Value {
  const { kernel, strides, dilations, begin, end, group } = at
  const axes = each(kernel.length)
  const spatial = axes.map((i) => i + 2)
  const channels = Number(x.shape[1]) / group
  const filters = Number(dy.shape[1])
  const swapped = o.transpose(x, [1, 0, ...spatial]) // (channels, batch, …)
  // group g of the result's channels sees the batch of group g of the input's: (channels / group, group · batch, …)
  const grouped =
    group === 1
      ? swapped
      : o.reshape(
          o.transpose(
            o.reshape(
              swapped,
              o.concat([o.ints(x, [group, channels]), ...[0, ...spatial].map((i) => o.dimension(x, i))], 0),
            ),
            [1, 0, 2, ...spatial.map((i) => i + 1)],
          ),
          o.concat([o.ints(x, [channels, -1]), ...spatial.map((i) => o.dimension(x, i))], 0),
        )
  const [result] = x.graph.node('Conv', [grouped, o.transpose(dy, [1, 0, ...spatial])], {
    pads: [...begin, ...end],
    strides: dilations,
    dilations: strides,
    group,
  }) // (channels / group, filters, at least …kernel)
  const all = o.slice(
    result,
    axes.map(() => 0),
    kernel,
    spatial,
  )
  return o.reshape(o.transpose(all, [1, 0, ...spatial]), [filters, channels, ...kernel])
}

/** A bias's gradient: dy summed over all but the channels. */
const biasGradient = (dy: Value) => o.reduceSum(dy, [0, ...each(dy.shape.length - 2).map((i) => i + 2)])

const kernelOf = (weight: Value) => weight.shape.slice(2).map(Number)

export const convolutionRules: Record<string, Rule> = {
  Conv: rule(({ x: [x, weight, bias], dy, node }) => {
    const at = geometryOf(node, x.shape, dy.shape, kernelOf(weight))
    return [inputGradient(dy, weight, x, at), weightGradient(x, dy, at), bias && biasGradient(dy)]
  }),
  ConvTranspose: rule(({ x: [x, weight, bias], dy, node }) => {
    if (intsOf(node.proto, 'output_shape') || stringOf(node.proto, 'auto_pad', 'NOTSET').startsWith('SAME')) {
      const what = `the gradient of ConvTranspose "${node.proto.name}" with output_shape or auto_pad`
      throw fail('UNSUPPORTED', { what, instead: 'Export the model with explicit pads.' })
    }
    const at = geometryOf(node, dy.shape, x.shape, kernelOf(weight))
    const { strides, dilations, begin, end, group, kernel } = at
    const axes = each(kernel.length)
    const pads = [...begin, ...end]
    const [wide] = dy.graph.node('Conv', [dy, weight], { strides, dilations, pads, group, kernel_shape: kernel })
    // output_padding beyond a stride would make room for a further window
    const fits = axes.every((i) => wide.shape[i + 2] === x.shape[i + 2])
    const sizes = o.concat(
      axes.map((i) => o.dimension(x, i + 2)),
      0,
    )
    const from = o.ints(
      x,
      axes.map(() => 0),
    )
    const spatial = o.ints(
      x,
      axes.map((i) => i + 2),
    )
    const dx = fits ? wide : dy.graph.node('Slice', [wide, from, sizes, spatial])[0]
    return [dx, weightGradient(dy, x, at), bias && biasGradient(dy)]
  }),
}
