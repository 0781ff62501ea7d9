import type { Value } from '../graph/builder.ts'
import type { NodeProto } from '../graph/gen/onnx_pb.js'

/**
 * Of what a value is the gradient of a two-dimensional convolution's filters: x (batch, channels, …) and dy (batch, filters, …)
 * by name, and the convolution's geometry. All sizes but the batch are known. It is written at the node that makes the
 * value, so that a later pass can compute it in another way.
 */
export interface FilterGradient {
  readonly x: string
  readonly dy: string
  readonly strides: readonly number[]
  readonly dilations: readonly number[]
  /** Padding before each axis. */
  readonly begin: readonly number[]
}

const KEY = 'athanor.filterGradient'

/** Writes at the node of `gradient` of what it is one. */
export const markFilterGradient = (gradient: Value, of: FilterGradient) =>
  gradient.graph.annotate(gradient, KEY, JSON.stringify(of))

/** What a node says that it makes, if it is the gradient of filters. */
export function filterGradientOf({ metadataProps }: NodeProto): FilterGradient | undefined {
  const found = metadataProps.find(({ key }) => key === KEY)
  return found && (JSON.parse(found.value) as FilterGradient)
}
