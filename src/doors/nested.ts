import { fail } from '../base/errors.ts'
import type { Tensor } from '../graph/dtype.ts'
import { flattenNumbers, toValues } from '../graph/values.ts'
import type { Slot } from './views.ts'

/** Tensors as nested lists, without a shape beside them: TensorFlow Serving's, MLflow's and Hugging Face's JSON. */

const refuse = (where: string, message: string, model: string) =>
  fail('TENSOR_INVALID', { message: `${where}: ${message}`, model })

/** The shape of nested lists; throws TENSOR_INVALID where lists of one level differ in length. */
function shapeOf(value: unknown, where: string, model: string): number[] {
  const shape: number[] = []
  let level: unknown[] = [value]
  while (level.some(Array.isArray) && shape.length <= 32) {
    const [first] = level
    const sizeOf = (one: unknown) => (Array.isArray(one) ? one.length : 'no list')
    const ragged = level.find((one) => sizeOf(one) !== sizeOf(first))
    if (ragged !== undefined)
      throw refuse(where, `lists of one level differ in length (${sizeOf(first)} and ${sizeOf(ragged)})`, model)
    shape.push((first as unknown[]).length)
    level = (level as unknown[][]).flat()
  }
  return shape
}

/** Strings may come as `{"b64": …}`, which is bytes; those of images stay as they are. */
function unwrapped(value: unknown, image: boolean): unknown {
  if (Array.isArray(value)) return value.map((one) => unwrapped(one, image))
  if (typeof value === 'object' && value !== null && typeof (value as { b64?: unknown }).b64 === 'string')
    return image
      ? (value as { b64: string }).b64
      : Buffer.from((value as { b64: string }).b64, 'base64').toString('utf8')
  return value
}

/** Nested lists as a tensor of a slot's type; its shape is that of the lists. Throws TENSOR_INVALID. */
export function tensorFrom(value: unknown, { dtype, image }: Slot, where: string, model: string): Tensor {
  const plain = dtype === 'string' ? unwrapped(value, image ?? false) : value
  const shape = shapeOf(plain, where, model)
  return flattenNumbers(shape.length === 0 ? [plain] : plain, shape, dtype, where, model)
}

/** A tensor as nested lists. */
export function nested(tensor: Tensor): unknown {
  const { dims } = tensor
  let values: unknown[] = tensor.dtype === 'string' ? [...(tensor.data as string[])] : toValues(tensor)
  if (dims.length === 0) return values[0]
  for (const size of dims.slice(1).toReversed()) {
    const lists: unknown[] = []
    for (let at = 0; at < values.length; at += Math.max(1, size)) lists.push(values.slice(at, at + size))
    values = size === 0 ? Array.from({ length: dims[0] }, () => []) : lists
  }
  return values
}
