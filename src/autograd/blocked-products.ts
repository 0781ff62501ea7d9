import { Edit } from '../graph/edit.ts'
import type { ModelProto, NodeProto } from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import type { Shape } from '../graph/shape.ts'
import { int64 } from '../graph/tensor.ts'
import { Steps } from './blocked.ts'
import { Layouts, type Side } from './chains.ts'

/** A model some of whose values lie in blocks. It is for batches of which each of `whole` multiplies to whole blocks. */
export interface BlockedProducts {
  readonly model: ModelProto
  readonly whole: readonly Shape[]
}

/**
 * The model with chains of products in onnxruntime's layout of blocks of columns: those whose results go through operators
 * on elements to other products, as between both layers of a Transformer's feed-forward part, or are cut into heads. A
 * matrix (rows, columns) lies there as (columns / block, rows, block), and the pointwise convolution of X and Y, both in
 * blocks, is X·Y in blocks. It takes both as they are, where onnxruntime's product packs its right side at each call, and is
 * as fast as the machine; only what goes into a chain or comes out of it is rearranged. Undefined where there is no chain,
 * or no such layout on this machine (`block` below 2).
 */
export function blockProducts(model: ModelProto, block: number): BlockedProducts | undefined {
  if (block < 2 || !model.graph) return undefined
  const edit = new Edit(model)
  const layouts = new Layouts(edit, inferModel(model), block)
  const chains = layouts.chains()
  if (chains.length === 0) return undefined
  const products = new Products(edit, layouts, new Set(chains.flatMap(({ values }) => [...values])), block)
  for (const node of edit.nodes.slice()) products.rewrite(node)
  const whole = new Map(chains.map(({ rows }) => [rows.join(), rows]))
  return { model: edit.finish(), whole: [...whole.values()] }
}

/** A model whose products become convolutions where a side or the result lies in blocks. */
class Products {
  readonly #edit: Edit
  readonly #layouts: Layouts
  readonly #inBlocks: ReadonlySet<string>
  readonly #block: number
  readonly #known = new Map<string, string>()

  constructor(edit: Edit, layouts: Layouts, inBlocks: ReadonlySet<string>, block: number) {
    this.#edit = edit
    this.#layouts = layouts
    this.#inBlocks = inBlocks
    this.#block = block
  }

  rewrite(node: NodeProto) {
    const steps = new Steps(this.#edit)
    const lies = (name: string) => this.#inBlocks.has(name)
    const heads = this.#layouts.heads(node)
    const product = this.#layouts.product(node)
    if (heads === 'cut' && lies(node.input[0])) this.#cut(steps, node)
    else if (heads === 'join' && lies(node.output[0])) this.#join(steps, node)
    else if (this.#layouts.isRowSum(node) && lies(node.input[0])) this.#rowSum(steps, node)
    else if (product && [product.left.name, product.right.name, node.output[0]].some(lies)) {
      const { left, right, bias } = product
      // XᵀY = (YᵀX)ᵀ, so that what lies in blocks is the right side
      const turned = left.transposed && lies(left.name)
      const [a, b] = turned
        ? [
            { ...right, transposed: true },
            { ...left, transposed: false },
          ]
        : [left, right]
      const [result] = this.#multiply(steps, a, b, bias)
      this.#give(steps, result, this.#columns(b), turned, lies(node.output[0]))
    }
    if (steps.nodes.length > 0) this.#edit.replace(node, steps.nodes)
  }

  #multiply(steps: Steps, a: Side, b: Side, bias: string | undefined): string[] {
    const image = this.#blocks(steps, a)
    const rows = a.transposed ? image : this.#reshape(steps, image, [1, this.#columns(a), -1, 1])
    const filters = this.#reshape(steps, this.#blocks(steps, b), [this.#columns(b), -1, 1, 1])
    return steps.add('Conv', [rows, filters, ...(bias ? [bias] : [])], { kernel_shape: [1, 1] })
  }

  /** What a convolution made as the matrix that was wanted: in blocks, or as it is, or turned back. */
  #give(steps: Steps, result: string, columns: number, turned: boolean, inBlocks: boolean) {
    if (inBlocks) return this.#reshape(steps, result, [-1, columns])
    const [plain] = steps.add('ReorderOutput', [result], { channels: columns, channels_last: turned ? 0 : 1 })
    return this.#reshape(steps, plain, turned ? [columns, -1] : [-1, columns])
  }

  #rowSum(steps: Steps, { input: [x] }: NodeProto) {
    const columns = Number(this.#layouts.columns(x))
    const apart = this.#reshape(steps, x, [columns / this.#block, -1, this.#block])
    const [sums] = steps.add('ReduceSum', [apart, this.#constant([1])], { keepdims: 0 })
    this.#reshape(steps, sums, [columns])
  }

  /** Blocks of (batch, time, heads, size) → (heads, batch, time, size): the blocks of a head are its columns. */
  #cut(steps: Steps, { input: [x] }: NodeProto) {
    const [, , heads, size] = this.#layouts.shape(x)!.map(Number)
    const image = this.#reshape(steps, x, [heads, size, -1, 1])
    const [plain] = steps.add('ReorderOutput', [image], { channels: size, channels_last: 1 })
    steps.add('Reshape', [plain, this.#ordered(steps, x, [2, 0, 1, 3])])
  }

  #join(steps: Steps, { input: [x] }: NodeProto) {
    const [heads, , , size] = this.#layouts.shape(x)!.map(Number)
    const [blocks] = steps.add('ReorderInput', [this.#reshape(steps, x, [heads, -1, 1, size])], { channels_last: 1 })
    steps.add('Reshape', [blocks, this.#ordered(steps, x, [1, 2, 0, 3])])
  }

  /** A value's shape in another order. */
  #ordered(steps: Steps, x: string, order: readonly number[]): string {
    return this.#once(`order ${order} of ${this.#layouts.shape(x)}`, () => {
      const [shape] = steps.add('Shape', [x])
      return steps.add('Gather', [shape, this.#constant(order)])[0]
    })
  }

  /** How many columns a side has; -1 where only a run tells. */
  #columns({ name, transposed }: Side): number {
    const size = this.#layouts.shape(name)![transposed ? 0 : 1]
    return typeof size === 'number' ? size : -1
  }

  /** A side in blocks of its columns. */
  #blocks(steps: Steps, { name, transposed }: Side): string {
    if (this.#inBlocks.has(name)) return name
    const from = this.#layouts.origin(name)
    return this.#once(`${transposed} ${from}`, () => {
      const [rows, columns] = this.#layouts.shape(name)!.map((dim) => (typeof dim === 'number' ? dim : -1))
      const image = this.#reshape(steps, from, transposed ? [1, rows, columns, 1] : [1, rows, 1, columns])
      return steps.add('ReorderInput', [image], { channels_last: transposed ? 0 : 1 })[0]
    })
  }

  #reshape(steps: Steps, x: string, shape: readonly number[]): string {
    return steps.add('Reshape', [x, this.#constant(shape)])[0]
  }

  #constant(values: readonly number[]): string {
    return this.#once(`constant ${values}`, () => this.#edit.store('sizes', int64([values.length], values)))
  }

  #once(key: string, make: () => string): string {
    const name = this.#known.get(key) ?? make()
    this.#known.set(key, name)
    return name
  }
}
