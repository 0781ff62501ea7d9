import { create } from '@bufbuild/protobuf'
import { fail } from '../base/errors.ts'
import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import { Edit } from '../graph/edit.ts'
import { type ModelProto, ValueInfoProtoSchema } from '../graph/gen/onnx_pb.js'
import { layerStates } from '../nn/states.ts'
import type { Teacher } from '../train/lessons.ts'
import { feedsFor, ortFeeds } from './inputs.ts'
import type { Subject } from './subject.ts'

/** How a source teaches, see `Teacher`. */
type Teaching = Pick<Teacher, 'temperature' | 'share'> & Partial<Pick<Teacher, 'hidden' | 'states'>>

/**
 * The source as a teacher: it reads texts through its own pipeline. For its vectors it must still end in a product of floats,
 * and for the states of its layers have some; throws UNSUPPORTED otherwise.
 */
export async function teacherOf(
  subject: Subject,
  { temperature, share, hidden = 0, states }: Teaching,
  threads: number,
): Promise<Teacher> {
  const vectors = hidden > 0 ? vectorsOf(subject.model) : undefined
  if (hidden > 0 && !vectors)
    throw fail('UNSUPPORTED', {
      what: 'learning the vectors of a teacher whose answers are not made by a product of floats',
      instead: 'Teach by a version that is not quantized, or by answers alone: hidden=0.',
    })
  const layers = states ? spread(layerStates(subject.model.graph!.node), states.layers) : []
  const more = [...(vectors ? [vectors] : []), ...new Set(layers)]
  const session = await openSession(writeModel(telling(subject.model, more)), threads)
  return {
    temperature,
    share,
    hidden,
    ...(states && { states }),
    async answers(texts) {
      const found: Float32Array[] = []
      for (const feeds of await feedsFor(
        subject,
        texts.map((text) => ({ text, label: '' })),
      )) {
        const results = await session.run(ortFeeds(feeds), ['probabilities', ...more])
        const { data: lengths } = feeds.tensors.lengths
        const of = (name: string) => results[name].data as Float32Array
        const means = layers.map((name) => meansOf(of(name), results[name].dims, lengths as BigInt64Array))
        const rows = feeds.rows.length
        ;[
          of('probabilities'),
          ...(vectors ? [of(vectors)] : []),
          ...(means[0] ? [sideBySide(means, rows)] : []),
        ].forEach((data, i) => {
          const width = data.length / rows
          found[i] ??= new Float32Array(texts.length * width)
          feeds.rows.forEach((row, r) => {
            found[i].set(data.subarray(r * width, (r + 1) * width), row * width)
          })
        })
      }
      const [probabilities, ...others] = found
      return {
        probabilities,
        ...(vectors && { vectors: others[0] }),
        ...(states && { states: others.at(-1)! }),
      }
    },
  }
}

/** As many of a teacher's layers as a student has, evenly spread and the last among them (Jiao et al. 2020). */
function spread(states: readonly string[], layers: number): string[] {
  if (states.length === 0)
    throw fail('UNSUPPORTED', {
      what: 'learning layer by layer from a teacher that is no Transformer of floats',
      instead: 'Leave states=… away.',
    })
  return Array.from({ length: layers }, (_, i) => states[Math.ceil(((i + 1) * states.length) / layers) - 1])
}

/** The mean of the tokens of each text: (batch, time, width) → (batch, width). */
function meansOf(data: Float32Array, [rows, time, width]: readonly number[], lengths: BigInt64Array): Float32Array {
  const means = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    const count = Number(lengths[row])
    for (let at = row * time * width; at < (row * time + count) * width; at++)
      means[row * width + (at % width)] += data[at] / count
  }
  return means
}

/** Rows of several matrices as one: each (rows, width) → (rows, matrices · width). */
function sideBySide(parts: readonly Float32Array[], rows: number): Float32Array {
  const width = parts[0].length / rows
  const all = new Float32Array(rows * parts.length * width)
  parts.forEach((part, p) => {
    for (let row = 0; row < rows; row++)
      all.set(part.subarray(row * width, (row + 1) * width), (row * parts.length + p) * width)
  })
  return all
}

/** A model that gives some of its inner values as well. */
export function telling(model: ModelProto, names: readonly string[]): ModelProto {
  const graph = model.graph!
  const output = [...graph.output, ...names.map((name) => create(ValueInfoProtoSchema, { name }))]
  return { ...model, graph: { ...graph, output } }
}

/** What a classifier's last product reads, the vectors (batch, width) of its logits; undefined where that is of integers. */
export function vectorsOf(model: ModelProto): string | undefined {
  const edit = new Edit(model)
  const makers = edit.producers()
  let node = makers.get('probabilities')
  while (node && ['Softmax', 'Identity'].includes(node.opType)) node = makers.get(node.input[0])
  return node?.opType === 'Gemm' && edit.dims(node.input[1]) ? node.input[0] : undefined
}
