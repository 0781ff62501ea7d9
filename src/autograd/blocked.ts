import { type Attributes, intOf, intsOf, stringOf } from '../graph/attributes.ts'
import { Edit } from '../graph/edit.ts'
import type { ModelProto, NodeProto } from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import type { Shape, Type } from '../graph/shape.ts'
import { int64 } from '../graph/tensor.ts'
import { type FilterGradient, filterGradientOf } from './filters.ts'

const DOMAIN = 'com.microsoft.nchwc'

/**
 * The model with its two-dimensional convolutions, and those gradients of filters that say of what they are (see
 * `FilterGradient`), in onnxruntime's layout of blocks of channels (NCHWc), which take half the time. onnxruntime itself
 * changes the layout only of convolutions whose weights are stored in the model; those of a training graph are not.
 * `block` is how many channels a block has on this machine; below 2 there is no such layout. `rows` of a batch are usual:
 * gradients of filters have them in blocks, and are left as they are where that makes many more of them. Only for models
 * that are run at once: their operators are no standard.
 */
export function blockConvolutions(model: ModelProto, block: number, rows = block): ModelProto {
  if (block < 2 || !model.graph?.node.some(({ opType }) => opType === 'Conv')) return model
  const fits = Math.ceil(rows / block) * block <= MOST_FILLED * rows
  const blocked = new Blocked(model, block)
  for (const node of blocked.edit.nodes.slice()) {
    const filters = fits && filterGradientOf(node)
    if (filters) blocked.filterGradient(node, filters)
    else blocked.convolution(node)
  }
  return blocked.edit.finish()
}

/** How many times the rows there may be with those that fill the last block. */
const MOST_FILLED = 1.5

/** A model under change, and what of it is in blocks already. */
class Blocked {
  readonly edit: Edit
  readonly #block: number
  readonly #types: ReadonlyMap<string, Type>
  readonly #known = new Map<string, string>()

  constructor(model: ModelProto, block: number) {
    this.edit = new Edit(model)
    this.#types = inferModel(model)
    this.#block = block
  }

  convolution(node: NodeProto) {
    const shape = suits(node, this.#shape(node.input[0]), this.#shape(node.input[1]), this.#block)
    if (!shape) return
    const [filters, channels, ...kernel_shape] = shape
    const whole = channels % this.#block === 0
    const steps = new Steps(this.edit)
    const x = whole ? this.#input(steps, node.input[0]) : node.input[0]
    const [result] = steps.add('Conv', [x, this.#filters(steps, node.input[1], shape, whole), ...node.input.slice(2)], {
      kernel_shape,
      ...geometry(node),
    })
    steps.add('ReorderOutput', [result], { channels: filters })
    this.edit.replace(node, steps.nodes)
  }

  /**
   * The gradient as a convolution: x with batch and channels exchanged is its input, dy its filters, and strides and
   * dilations change places. The batch is filled up to whole blocks. x is padded beforehand, since onnxruntime counts the
   * places of a window that reaches into padding one at a time, and here all but the middle one would.
   */
  filterGradient(node: NodeProto, { x, dy, strides, dilations, begin }: FilterGradient) {
    const [, filters, ...windows] = this.#shape(dy)!.map(Number)
    const [, , ...size] = this.#shape(x)!.map(Number)
    const kernel = this.#shape(node.output[0])!.slice(2).map(Number)
    if (filters % this.#block !== 0 || kernel.every((taps) => taps === 1)) return
    const end = kernel.map(
      (taps, i) => strides[i] * (windows[i] - 1) + dilations[i] * (taps - 1) + 1 - size[i] - begin[i],
    )
    const steps = new Steps(this.edit)
    const missing = this.#missing(steps, x)
    const [exchanged] = steps.add('Transpose', [x], { perm: [1, 0, 2, 3] })
    const [pads] = steps.add('Concat', [this.#constant([0, 0, ...begin, 0]), missing, this.#constant(end)], { axis: 0 })
    const [padded] = steps.add('Pad', [exchanged, pads])
    const [image] = steps.add('ReorderInput', [padded])
    const [result] = steps.add('Conv', [image, this.#answers(steps, dy, missing)], {
      kernel_shape: windows,
      strides: dilations,
      dilations: strides,
    })
    const [plain] = steps.add('ReorderOutput', [result], { channels: filters }) // (channels, filters, …kernel)
    steps.add('Transpose', [plain], { perm: [1, 0, 2, 3] })
    this.edit.replace(node, steps.nodes)
  }

  #shape(name: string): Shape | undefined {
    return this.#types.get(name)?.shape
  }

  #once(key: string, make: () => string): string {
    const name = this.#known.get(key) ?? make()
    this.#known.set(key, name)
    return name
  }

  #constant(values: readonly number[]): string {
    return this.#once(`constant ${values}`, () => this.edit.store('sizes', int64([values.length], values)))
  }

  #input(steps: Steps, name: string): string {
    return this.#once(`input ${name}`, () => steps.add('ReorderInput', [name])[0])
  }

  /** Filters in the layout that the blocked convolution reads: blocks of filters, and of channels unless these are few. */
  #filters(steps: Steps, name: string, [out, channels, ...kernel]: readonly number[], whole: boolean): string {
    const block = this.#block
    return this.#once(`filters ${name}`, () => {
      const apart = [out / block, block, ...(whole ? [channels / block, block] : [channels]), ...kernel]
      const [split] = steps.add('Reshape', [name, this.#constant(apart)])
      const [turned] = steps.add('Transpose', [split], { perm: whole ? [0, 2, 4, 5, 3, 1] : [0, 2, 3, 4, 1] })
      return steps.add('Reshape', [turned, this.#constant([out, channels, ...kernel])])[0]
    })
  }

  /** How many rows the last block of a value's batch lacks: int64 (1). */
  #missing(steps: Steps, name: string): string {
    return this.#once(`missing ${this.#shape(name)![0]}`, () => {
      const [rows] = steps.add('Shape', [name], { start: 0, end: 1 })
      const [less] = steps.add('Neg', [rows])
      return steps.add('Mod', [less, this.#constant([this.#block])])[0]
    })
  }

  /** dy (batch, filters, …windows) as filters of a convolution over the batch: blocks of filters, blocks of rows. */
  #answers(steps: Steps, dy: string, missing: string): string {
    const block = this.#block
    const [, filters, ...windows] = this.#shape(dy)!.map(Number)
    const [shape] = steps.add('Concat', [missing, this.#constant([filters, ...windows])], { axis: 0 })
    const [zeros] = steps.add('ConstantOfShape', [shape])
    const [filled] = steps.add('Concat', [this.#input(steps, dy), zeros], { axis: 0 })
    const apart = [-1, block, filters / block, windows[0] * windows[1], block]
    const [split] = steps.add('Reshape', [filled, this.#constant(apart)])
    const [turned] = steps.add('Transpose', [split], { perm: [2, 0, 3, 1, 4] })
    return steps.add('Reshape', [turned, this.#constant([filters, -1, ...windows])])[0]
  }
}

const blockedOperators = new Set(['Conv', 'ReorderInput', 'ReorderOutput'])

/** Nodes that are to take the place of one. */
export class Steps {
  readonly nodes: NodeProto[] = []
  readonly #edit: Edit

  constructor(edit: Edit) {
    this.#edit = edit
  }

  add(opType: string, inputs: readonly string[], attributes: Attributes = {}): string[] {
    const domain = blockedOperators.has(opType) ? DOMAIN : ''
    const node = this.#edit.make(opType, inputs, attributes, [opType], domain)
    this.nodes.push(node)
    return node.output
  }
}

const geometry = (node: NodeProto): Attributes => ({
  pads: intsOf(node, 'pads'),
  strides: intsOf(node, 'strides'),
  dilations: intsOf(node, 'dilations'),
})

/** The filters' shape, if a convolution can be taken over: one group, whole blocks of filters, few or whole blocks of channels. */
function suits(node: NodeProto, x: Shape | undefined, weight: Shape | undefined, block: number): number[] | undefined {
  if (node.opType !== 'Conv' || node.domain !== '' || x?.length !== 4 || weight?.length !== 4) return undefined
  if (intOf(node, 'group', 1) !== 1 || stringOf(node, 'auto_pad', 'NOTSET') !== 'NOTSET') return undefined
  if (weight.some((dim) => typeof dim !== 'number') || intsOf(node, 'dilations')?.some((by) => by > 1)) return undefined
  const [filters, channels] = weight.map(Number)
  const channelsFit = channels % block === 0 || channels < block
  return filters % block === 0 && channelsFit ? weight.map(Number) : undefined
}
