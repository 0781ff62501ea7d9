import { fail } from '../../base/errors.ts'
import type { TensorSpec } from '../../bundle/manifest.ts'
import { GraphBuilder, type Value } from '../../graph/builder.ts'
import type { ModelProto } from '../../graph/gen/onnx_pb.js'
import { inferModel } from '../../graph/infer.ts'
import * as o from '../../graph/ops.ts'
import { signatureOf } from '../../graph/signature.ts'
import { type DataType, isDataType } from '../../graph/tensor.ts'
import { framed, opsetOf } from './frame.ts'
import { finalActivation, probabilities } from './scores.ts'

/** How texts become the rows of ids that an imported model was trained with. */
export interface TextShape {
  /** Ids in a row; undefined when the model takes any number and leaves padding out of account by itself. */
  length: number | undefined
  padding: 'pre' | 'post'
}

/** Inputs that may stand beside ids: how many tokens there are, where they are, and which of two texts they are of. */
const beside = ['lengths', 'attention_mask', 'token_type_ids'] as const
type Beside = (typeof beside)[number]
const isBeside = ({ name }: TensorSpec) => (beside as readonly string[]).includes(name)

/** What may be done to ids before they are looked up. */
const arranging = new Set(
  'Add Cast Clip Concat Identity Max Min Mod Mul Pad Reshape Slice Split Squeeze Sub Transpose Unsqueeze Where'.split(
    ' ',
  ),
)

/**
 * Whether a graph looks as if it classified texts: rows of ids that pick rows of a stored table (and perhaps `lengths` or a mask) become
 * rows of scores.
 */
export function readsTexts(model: ModelProto): boolean {
  const { inputs, outputs } = signatureOf(model)
  const [ids, ...others] = inputs
  if (ids?.shape.length !== 2 || !others.every(isBeside)) return false
  if (!outputs.some(({ shape }) => shape.length === 2)) return false
  const { node, initializer } = model.graph!
  const tables = new Set(initializer.filter(({ dims }) => dims.length === 2).map(({ name }) => name))
  const derived = new Set([ids.name])
  for (const { opType, input, output } of node) {
    if (opType === 'Gather' && tables.has(input[0]) && derived.has(input[1])) return true
    if (arranging.has(opType) && input.some((name) => derived.has(name))) for (const name of output) derived.add(name)
  }
  return false
}

/**
 * Makes a model that takes rows of ids one that serves texts: inputs `ids` int64 (batch, time) padded at the end and
 * `lengths` int64 (batch), output `probabilities` (batch, classes). Rows are laid out as the model was trained: padded to
 * its length, before or after the ids. One sigmoid becomes two classes; scores that are no probabilities get a softmax.
 * Throws UNSUPPORTED or OPTION_INVALID.
 */
export function servingTexts(model: ModelProto, shape: TextShape): { model: ModelProto; classes: number } {
  const { inputs, outputs } = signatureOf(model)
  const version = opsetOf(model)
  const [ids, ...others] = inputs
  const refuse = (what: string) =>
    fail('UNSUPPORTED', { what, instead: 'Import it without --tokenizer: it then takes tensors.' })
  if (!ids || !others.every(isBeside) || ids.shape.length !== 2)
    throw refuse(`a text model with the inputs ${inputs.map(({ name, shape }) => `${name} [${shape}]`).join(', ')}`)
  if (version < 13) throw refuse(`a text model of opset ${version}`)
  const output = outputs.find(({ name }) => name === 'probabilities') ?? outputs[0]
  const inferred = inferModel(model).get(output?.name ?? '')?.shape ?? output?.shape
  const width = inferred?.at(-1)
  if (!output || inferred?.length !== 2 || typeof width !== 'number')
    throw refuse(`a text model with the output ${output?.name} [${inferred ?? '?'}]`)
  const strange = [ids, ...others, output].find(({ dtype }) => !isDataType(dtype))
  if (strange) throw refuse(`a text model whose ${strange.name} is of ${strange.dtype}`)

  const before = new GraphBuilder()
  const given = {
    ids: before.input('ids', 'int64', ['batch', 'time']),
    lengths: before.input('lengths', 'int64', ['batch']),
  }
  const { rows, valid } = arranged(given.ids, given.lengths, shape)
  const joints = new Map([
    [ids.name, 'text/rows'],
    [output.name, 'text/scores'],
  ])
  before.output(o.cast(rows, ids.dtype as DataType), 'text/rows')
  for (const { name, dtype } of others) {
    const value = { lengths: given.lengths, attention_mask: valid, token_type_ids: o.zerosLike(rows) }[name as Beside]
    joints.set(name, `text/${name}`)
    before.output(o.cast(o.identity(value), dtype as DataType), `text/${name}`)
  }
  const after = new GraphBuilder()
  const scores = after.input('text/scores', output.dtype as DataType, ['batch', width])
  after.output(probabilities(o.cast(scores, 'float32'), finalActivation(model.graph!, output.name)), 'probabilities')
  return { model: framed(model, { before, after, joints }), classes: Math.max(2, width) }
}

/** Ids as the model wants them, the text's tokens at the end or the beginning and zeros elsewhere; and where tokens are. */
function arranged(ids: Value, lengths: Value, { length, padding }: TextShape): { rows: Value; valid: Value } {
  if (length === undefined) {
    const [zero, one] = [0n, 1n].map((value) =>
      o.constant(ids, { dtype: 'int64', dims: [], data: BigInt64Array.of(value) }),
    )
    const place = o.range(zero, o.squeeze(o.dimension(ids, 1), [0]), one) // (time)
    return { rows: o.identity(ids), valid: o.less(o.unsqueeze(place, [0]), o.unsqueeze(lengths, [1])) }
  }
  const place = o.constant(ids, {
    dtype: 'int64',
    dims: [1, length],
    data: BigInt64Array.from({ length }, (_, i) => BigInt(i)),
  })
  const kept = o.unsqueeze(o.min(lengths, length), [1]) // (batch, 1)
  // which token stands at each place; negative where padding comes first
  const at = padding === 'pre' ? o.add(o.sub(place, length), kept) : o.add(place, o.sub(kept, kept))
  const valid = o.and(o.greaterOrEqual(at, 0), o.less(at, kept))
  const picked = o.gatherElements(ids, o.where(valid, at, 0), 1) // (batch, length)
  return { rows: o.where(valid, picked, 0), valid }
}
