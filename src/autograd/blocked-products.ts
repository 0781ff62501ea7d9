import { create } from '@bufbuild/protobuf'
import { Edit } from '../graph/edit.ts'
import { GraphProtoSchema, type ModelProto, type NodeProto, ValueInfoProtoSchema } from '../graph/gen/onnx_pb.js'
import { inferModel } from '../graph/infer.ts'
import { int64 } from '../graph/tensor.ts'
import { Steps } from './blocked.ts'
import { Layouts, type Product, type Side } from './chains.ts'

/**
 * The model with chains of products in onnxruntime's layout of blocks of columns: those whose results go through operators
 * on elements to other products, as between both layers of a Transformer's feed-forward part, or are cut into heads. A
 * matrix (rows, columns) lies there as (columns / block, rows, block), and the pointwise convolution of X and Y, both in
 * blocks, is X·Y in blocks. It takes both as they are, where onnxruntime's product packs its right side at each call, and is
 * as fast as the machine; only what goes into a chain or comes out of it is rearranged. Without such a layout on this
 * machine (`block` below 2) the model stays as it is. Only for models that are run at once: their operators are no standard.
 */
export function blockProducts(model: ModelProto, block: number): ModelProto {
  if (block < 2 || !model.graph) return model
  const edit = new Edit(model)
  const layouts = new Layouts(edit, inferModel(model), block)
  const rows = new Map(layouts.chains().flatMap(({ values, rows }) => [...values].map((name) => [name, rows.join()])))
  if (rows.size === 0) return model
  const products = new Products(edit, layouts, rows, block)
  for (const node of edit.nodes.slice()) products.rewrite(node)
  return edit.finish()
}

/** A model whose products become convolutions where a side or the result lies in blocks. */
class Products {
  readonly #edit: Edit
  readonly #layouts: Layouts
  /** The values that lie in blocks, and which sizes multiply to their rows. */
  readonly #rows: ReadonlyMap<string, string>
  readonly #block: number
  readonly #known = new Map<string, string>()

  constructor(edit: Edit, layouts: Layouts, rows: ReadonlyMap<string, string>, block: number) {
    this.#edit = edit
    this.#layouts = layouts
    this.#rows = rows
    this.#block = block
  }

  rewrite(node: NodeProto) {
    const steps = new Steps(this.#edit)
    const lies = (name: string) => this.#rows.has(name)
    const heads = this.#layouts.heads(node)
    const product = this.#layouts.product(node)
    if (heads === 'cut' && lies(node.input[0])) this.#cut(steps, node)
    else if (heads === 'join' && lies(node.output[0])) this.#join(steps, node)
    else if (this.#layouts.isRowSum(node) && lies(node.input[0])) this.#rowSum(steps, node)
    else if (product && [product.left.name, product.right.name, node.output[0]].some(lies)) {
      const { left, right } = product
      if (!left.transposed) this.#multiply(steps, product, lies(node.output[0]))
      else if (lies(left.name)) this.#overRows(steps, left.name, right.name, true)
      else this.#overRows(steps, right.name, left.name, false)
    }
    if (steps.nodes.length > 0) this.#edit.replace(node, steps.nodes)
  }

  #multiply(steps: Steps, { left, right, bias }: Product, inBlocks: boolean) {
    const columns = Number(this.#layouts.shape(right.name)![right.transposed ? 0 : 1])
    const rows = this.#reshape(steps, this.#blocks(steps, left), [1, Number(this.#layouts.columns(left.name)), -1, 1])
    const filters = this.#reshape(steps, this.#blocks(steps, right), [columns, -1, 1, 1])
    const [blocks] = steps.add('Conv', [rows, filters, ...(bias ? [bias] : [])], { kernel_shape: [1, 1] })
    const [result] = inBlocks ? [blocks] : steps.add('ReorderOutput', [blocks], { channels: columns, channels_last: 1 })
    this.#reshape(steps, result, [-1, columns])
  }

  /** V'·Y where V lies in blocks, or else Y'·V = (V'·Y)'. Rows that are no whole blocks are found out when it runs. */
  #overRows(steps: Steps, v: string, y: string, first: boolean) {
    const columns = Number(this.#layouts.columns(v))
    const whole = this.#whole(steps, v)
    const turned = this.#once(`turned ${this.#layouts.origin(y)}, ${this.#rows.get(v)}`, () =>
      this.#either(
        steps,
        whole,
        (inner) => this.#reorder(inner, { name: y, transposed: true }),
        (inner) => inner.add('Identity', [y])[0],
      ),
    )
    this.#either(
      steps,
      whole,
      (inner) => {
        const filters = this.#reshape(inner, v, [columns, -1, 1, 1])
        const [blocks] = inner.add('Conv', [turned, filters], { kernel_shape: [1, 1] }) // of Y'·V
        const [plain] = inner.add('ReorderOutput', [blocks], { channels: columns, channels_last: first ? 0 : 1 })
        return this.#reshape(inner, plain, first ? [columns, -1] : [-1, columns])
      },
      (inner) => {
        const apart = this.#reshape(inner, v, [columns / this.#block, -1, this.#block])
        const [lines] = inner.add('Transpose', [apart], { perm: [0, 2, 1] })
        const [result] = inner.add('MatMul', [this.#reshape(inner, lines, [columns, -1]), y])
        return first ? result : inner.add('Transpose', [result], { perm: [1, 0] })[0]
      },
    )
  }

  /** Whether the rows of a value in blocks are whole blocks: bool (1). */
  #whole(steps: Steps, name: string): string {
    return this.#once(`whole ${this.#rows.get(name)}`, () => {
      const [size] = steps.add('Size', [name])
      const each = Number(this.#layouts.columns(name)) * this.#block
      const [rest] = steps.add('Mod', [size, this.#constant([each])])
      return steps.add('Equal', [rest, this.#constant([0])])[0]
    })
  }

  #either(steps: Steps, condition: string, yes: (inner: Steps) => string, no: (inner: Steps) => string): string {
    const branch = (build: (inner: Steps) => string) => {
      const inner = new Steps(this.#edit)
      const output = [create(ValueInfoProtoSchema, { name: build(inner) })]
      return { graph: create(GraphProtoSchema, { name: 'branch', node: inner.nodes, output }) }
    }
    return steps.add('If', [condition], { then_branch: branch(yes), else_branch: branch(no) })[0]
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

  /** A side in blocks of its columns. */
  #blocks(steps: Steps, side: Side): string {
    if (this.#rows.has(side.name)) return side.name
    return this.#once(`${side.transposed} ${this.#layouts.origin(side.name)}`, () => this.#reorder(steps, side))
  }

  #reorder(steps: Steps, { name, transposed }: Side): string {
    const [rows, columns] = this.#layouts.shape(name)!.map((dim) => (typeof dim === 'number' ? dim : -1))
    const image = this.#reshape(steps, name, transposed ? [1, rows, columns, 1] : [1, rows, 1, columns])
    return steps.add('ReorderInput', [image], { channels_last: transposed ? 0 : 1 })[0]
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
