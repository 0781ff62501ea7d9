import { floatOf, intOf, intsOf } from '../graph/attributes.ts'
import { type Edit, reads } from '../graph/edit.ts'
import type { NodeProto } from '../graph/gen/onnx_pb.js'
import type { Dim, Shape, Type } from '../graph/shape.ts'
import { numbers } from '../graph/tensor.ts'

/** A side of a product of matrices. */
export interface Side {
  readonly name: string
  readonly transposed: boolean
}

/** `left · right + bias` of float32 matrices; the bias is of the columns. */
export interface Product {
  readonly left: Side
  readonly right: Side
  readonly bias: string | undefined
}

/** Values that can lie in blocks of columns: results of products, and what operators on elements make of them. */
export interface Chain {
  readonly values: ReadonlySet<string>
  /** Sizes whose product is how many rows they have. */
  readonly rows: Shape
}

const elementwise = new Set([
  ...['Abs', 'Cast', 'Clip', 'Erf', 'Exp', 'Gelu', 'HardSigmoid', 'Identity', 'Log', 'Neg', 'Reciprocal', 'Relu'],
  ...['Sigmoid', 'Sign', 'Sqrt', 'Tanh', 'Add', 'Div', 'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'],
  ...['Max', 'Min', 'Mul', 'Pow', 'Sub', 'Sum', 'Where'],
])

/** (batch, time, heads, size) → (heads, batch, time, size), and back. */
const INTO_HEADS = '2,0,1,3'
const OUT_OF_HEADS = '1,2,0,3'

/** What a model's nodes do, as far as blocks of columns go. */
export class Layouts {
  readonly #edit: Edit
  readonly #types: ReadonlyMap<string, Type>
  readonly #block: number
  readonly #producers: ReadonlyMap<string, NodeProto>
  readonly #uses: ReadonlyMap<string, readonly NodeProto[]>
  readonly #inputs: ReadonlySet<string>

  constructor(edit: Edit, types: ReadonlyMap<string, Type>, block: number) {
    this.#edit = edit
    this.#types = types
    this.#block = block
    this.#producers = edit.producers()
    this.#uses = edit.uses()
    this.#inputs = new Set([...edit.graph.input, ...edit.graph.initializer].map(({ name }) => name))
  }

  /** The chains all of whose values are made and used by what can work on blocks. */
  chains(): Chain[] {
    const chains: Chain[] = []
    const seen = new Set<string>()
    for (const node of this.#edit.nodes) {
      const product = this.product(node)
      for (const first of product ? [node.output[0], product.left.name] : []) {
        if (seen.has(first)) continue
        const values = this.#reach(first)
        for (const name of values) seen.add(name)
        const rows = this.#rows(values)
        const others = chains.flatMap((chain) => [...chain.values])
        if (rows && this.#suits(values, new Set([...values, ...others]))) chains.push({ values, rows })
      }
    }
    return chains
  }

  /** What a node multiplies, if that is all it does. */
  product(node: NodeProto): Product | undefined {
    const { opType, domain, input } = node
    const known = ['.Gemm', '.MatMul', 'com.microsoft.FusedMatMul'].includes(`${domain}.${opType}`)
    if (!known || floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) return undefined
    const [left, right] = ['transA', 'transB'].map((key, i) => ({
      name: input[i],
      transposed: intOf(node, key, 0) === 1,
    }))
    const bias = input[2] || undefined
    const matrix = ({ name }: Side) => this.shape(name)?.length === 2 && this.#types.get(name)?.dtype === 'float32'
    const ofColumns = (name: string) => this.shape(name)?.join() === String(this.columns(node.output[0]))
    if (!matrix(left) || !matrix(right) || (bias && !ofColumns(bias))) return undefined
    return { left, right, bias }
  }

  /** Whether a node sums a matrix over its rows. */
  isRowSum(node: NodeProto): boolean {
    const [x, given] = node.input
    if (node.opType !== 'ReduceSum' || !given || this.shape(x)?.length !== 2) return false
    const axes = this.#edit.tensor(given)
    return axes !== undefined && numbers(axes).join() === '0' && intOf(node, 'keepdims', 1) === 0
  }

  /** Whether a node puts heads, of whole blocks of columns, before all else or back to where they were. */
  heads(node: NodeProto): 'cut' | 'join' | undefined {
    if (node.opType !== 'Transpose' || !this.#whole(this.columns(node.input[0]))) return undefined
    const order = intsOf(node, 'perm')?.join()
    return order === INTO_HEADS ? 'cut' : order === OUT_OF_HEADS ? 'join' : undefined
  }

  shape(name: string): Shape | undefined {
    return this.#types.get(name)?.shape
  }

  columns(name: string): Dim | undefined {
    return this.shape(name)?.at(-1)
  }

  /** What a value is reshaped from without another number of columns: the same matrix. */
  origin(name: string): string {
    const node = this.#producers.get(name)
    return node?.opType === 'Reshape' && this.columns(node.input[0]) === this.columns(name)
      ? this.origin(node.input[0])
      : name
  }

  /** All values that lie as one does. */
  #reach(first: string): Set<string> {
    const values = new Set([first])
    for (const name of values)
      for (const node of this.#around(name)) for (const other of this.#alike(node, name) ?? []) values.add(other)
    return values
  }

  #around(name: string): NodeProto[] {
    const producer = this.#producers.get(name)
    return [...(producer ? [producer] : []), ...(this.#uses.get(name) ?? [])]
  }

  /** The values that lie as `name` does if a node looks at each element alone; undefined if it does more. */
  #alike(node: NodeProto, name: string): string[] | undefined {
    const { opType, domain, input, output } = node
    if (domain !== '') return undefined
    if (opType === 'Reshape') return name === input[1] ? undefined : this.#reshaped(input[0], output[0])
    if (!elementwise.has(opType) && !this.#scansElements(node)) return undefined
    const all = [...input, ...output].filter((one) => one !== '' && !this.#single(one))
    return all.every((one) => this.shape(one)?.join() === this.shape(name)!.join()) ? all : undefined
  }

  /** Columns stay as they are, or become heads and their sizes, or those become columns. */
  #reshaped(from: string, to: string): string[] | undefined {
    const [a, b] = [from, to].map((name) => this.shape(name) ?? [])
    const cut = (whole: Shape, parts: Shape) =>
      whole.length + 1 === parts.length && whole.at(-1) === Number(parts.at(-2)) * Number(parts.at(-1))
    return a.at(-1) === b.at(-1) || cut(a, b) || cut(b, a) ? [from, to] : undefined
  }

  #scansElements(node: NodeProto): boolean {
    const body = node.opType === 'Scan' ? node.attribute.find(({ g }) => g)?.g : undefined
    if (!body || intOf(node, 'num_scan_inputs', 0) !== node.input.length) return false
    const outer = reads(node).filter((name) => this.#producers.has(name) || this.#inputs.has(name))
    return (
      body.node.every(({ domain, opType }) => domain === '' && elementwise.has(opType)) &&
      outer.every((name) => node.input.includes(name) || this.#single(name))
    )
  }

  #single(name: string): boolean {
    return this.shape(name)?.every((dim) => dim === 1) ?? false
  }

  #whole(dim: Dim | undefined): boolean {
    return typeof dim === 'number' && dim % this.#block === 0
  }

  #rows(values: ReadonlySet<string>): Shape | undefined {
    const known = new Set([...this.#inputs].flatMap((name) => this.shape(name) ?? []))
    return [...values]
      .filter((name) => this.columns(name) === this.#widest(values))
      .map((name) => this.shape(name)!.slice(0, -1))
      .find((shape) => shape.every((dim) => typeof dim === 'number' || known.has(dim)))
  }

  /** Columns of those values that are not cut into heads. */
  #widest(values: ReadonlySet<string>): number {
    return Math.max(...[...values].map((name) => Number(this.columns(name))))
  }

  /** Whether nodes that look at more than elements can all take the values in blocks; `inBlocks` are all that do lie so. */
  #suits(values: ReadonlySet<string>, inBlocks: ReadonlySet<string>): boolean {
    const widest = this.#widest(values)
    let between = false
    for (const name of values) {
      if (!this.#producers.has(name) || !this.#whole(this.columns(name))) return false
      for (const node of this.#around(name)) {
        const passes = this.#alike(node, name) !== undefined
        between ||= (passes && node.opType !== 'Reshape') || this.heads(node) !== undefined
        if (!passes && !this.#takes(node, name, widest, inBlocks)) return false
      }
    }
    return between
  }

  #takes(node: NodeProto, name: string, widest: number, inBlocks: ReadonlySet<string>): boolean {
    if (node.opType === 'Shape') return true
    const heads = this.heads(node)
    if (heads) return this.shape(name)?.length === 4 && name === (heads === 'cut' ? node.input[0] : node.output[0])
    if (this.columns(name) !== widest) return false
    if (this.isRowSum(node)) return true
    const product = this.product(node)
    if (!product) return false
    const { left, right, bias } = product
    if (!left.transposed) {
      return name !== right.name && this.#whole(this.columns(left.name)) && this.#whole(this.columns(node.output[0]))
    }
    // over the rows: one side stays as it is, the other is turned
    if (right.transposed || bias || name === node.output[0]) return false
    const sides = [left.name, right.name]
    return !sides.every((side) => inBlocks.has(side)) && sides.every((side) => typeof this.columns(side) === 'number')
  }
}
