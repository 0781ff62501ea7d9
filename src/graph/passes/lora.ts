import { floatOf, intOf } from '../attributes.ts'
import { Edit } from '../edit.ts'
import type { ModelProto, NodeProto } from '../gen/onnx_pb.js'
import { float32, type Tensor } from '../tensor.ts'

/**
 * Merges low-rank adapters (LoRA, Hu et al. 2021) into the weights they stand beside: where x·W + s · (x·A)·B meet in an
 * Add, with W, A and B stored, W + s·A·B takes the place of W and the detour goes. Products may be MatMul or Gemm.
 */
export function mergeLora(model: ModelProto): ModelProto {
  const edit = new Edit(model)
  const producers = edit.producers()
  for (const add of edit.nodes.filter(({ opType }) => opType === 'Add')) {
    const uses = edit.uses()
    for (const [mainName, sideName] of [add.input, add.input.toReversed()]) {
      const main = product(edit, producers.get(mainName))
      const side = detour(edit, producers, sideName)
      if (!main || !side || main.node.input[0] !== side.input || uses.get(mainName)?.length !== 1) continue
      const { rows, columns } = main
      if (side.down.rows !== rows || side.up.columns !== columns || side.down.columns !== side.up.rows) continue
      const weight = edit.tensor(main.node.input[1])!
      const merged = Float32Array.from(weight.data as Float32Array)
      const [a, b] = [side.down, side.up].map(({ at }) => at)
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          let sum = 0
          for (let k = 0; k < side.up.rows; k++) sum += a(i, k) * b(k, j)
          merged[main.place(i, j)] += (side.scale * sum) / main.alpha
        }
      }
      const stored = edit.store(main.node.input[1], float32(weight.dims, merged))
      const [x, , ...rest] = main.node.input
      const whole = { ...main.node, input: [x, stored, ...rest], output: [add.output[0]] }
      edit.replace(add, [whole])
      producers.set(add.output[0], whole)
      break
    }
  }
  return edit.finish()
}

interface Product {
  node: NodeProto
  rows: number
  columns: number
  alpha: number
  place(row: number, column: number): number
  at(row: number, column: number): number
}

/** A product with a stored float32 matrix of (rows, columns), however it is laid out. */
function product(edit: Edit, node: NodeProto | undefined): Product | undefined {
  if (!node || (node.opType !== 'MatMul' && node.opType !== 'Gemm')) return undefined
  const dims = edit.dims(node.input[1])
  if (dims?.length !== 2 || intOf(node, 'transA', 0) === 1) return undefined
  const weight: Tensor = edit.tensor(node.input[1])!
  if (weight.dtype !== 'float32') return undefined
  const turned = intOf(node, 'transB', 0) === 1
  const [rows, columns] = turned ? dims.toReversed() : dims
  const place = (row: number, column: number) => (turned ? column * rows + row : row * columns + column)
  const alpha = floatOf(node, 'alpha', 1)
  return { node, rows, columns, alpha, place, at: (row, column) => (weight.data as Float32Array)[place(row, column)] }
}

/** The way past a weight: [s ·] (x·A)·B [· s], without biases. */
function detour(edit: Edit, producers: Map<string, NodeProto>, name: string) {
  let scale = 1
  let node = producers.get(name)
  const scaled = () => {
    while (node?.opType === 'Mul') {
      const which = node.input.findIndex((input) => edit.scalar(input) !== undefined)
      if (which < 0) return
      scale *= edit.scalar(node.input[which])!
      node = producers.get(node.input[1 - which])
    }
  }
  scaled()
  const up = product(edit, node)
  if (!up || up.node.input[2]) return undefined
  node = producers.get(up.node.input[0])
  scaled()
  const down = product(edit, node)
  if (!down || down.node.input[2]) return undefined
  return { input: down.node.input[0], down, up, scale: scale * up.alpha * down.alpha }
}
