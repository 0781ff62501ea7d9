import { readFileSync } from 'node:fs'
import { fail } from '../../base/errors.ts'
import { encoderFrom } from '../../formats/huggingface/bundle.ts'
import type { PublishedEncoder } from '../../formats/huggingface/folder.ts'
import type { Target, Tuning } from '../../nn/bert.ts'
import { type EncoderHead, encoderParameters, type LearningOptions } from '../../nn/encoders.ts'
import type { Weights } from '../checkpoint.ts'
import type { TaskContext } from '../learner.ts'
import { listed, type Options } from '../options.ts'

/**
 * The encoder that a run starts from, its texts cut to the length asked for; undefined when it starts from nothing. Throws
 * UNSUPPORTED for a version that is none, OPTION_INVALID for options that do not fit it.
 */
export function openBase({ job, options }: Pick<TaskContext, 'job' | 'options'>): PublishedEncoder | undefined {
  if (!job.from) return undefined
  const { ref, manifest, files } = job.from
  if (!manifest)
    throw fail('UNSUPPORTED', {
      what: 'an ONNX file as an encoder to start from',
      instead: 'Import the folder of the published model, and name that.',
    })
  const encoder = encoderFrom(manifest, (file) => (file in files ? readFileSync(files[file]) : undefined), ref)
  const asked = Number(options.maxLength)
  const limit = encoder.config.positions - encoder.config.firstPosition
  if (job.spec.options?.maxLength !== undefined && asked > limit)
    throw fail('OPTION_INVALID', { option: 'maxLength', reason: `${ref} has places for ${limit} tokens` })
  learningOf(options, encoder) // what does not fit is told before the data is read
  return { ...encoder, maxLength: Math.min(asked, limit) }
}

/** As `openBase`, for tasks that start from a published model only. */
export function needBase(context: TaskContext): PublishedEncoder {
  const base = openBase(context)
  if (!base)
    throw fail('OPTION_INVALID', { option: 'from', reason: `the family ${context.name} starts from a published model` })
  return base
}

/** What is trained of an encoder; throws OPTION_INVALID for more layers than it has. */
export function learningOf(options: Options, { config }: PublishedEncoder): LearningOptions {
  return { tuning: tuningOf(options, config.layers), dropout: Number(options.dropout) }
}

function tuningOf({ tuning, layers, rank, alpha, targets: list }: Options, all: number): Tuning {
  if (tuning === 'full') return { mode: 'full' }
  if (tuning === 'last') {
    if (Number(layers) > all)
      throw fail('OPTION_INVALID', { option: 'layers', reason: `the encoder has ${all} layers, not ${layers}` })
    return { mode: 'last', layers: Number(layers) }
  }
  return { mode: 'lora', rank: Number(rank), alpha: Number(alpha), targets: new Set(listed(String(list)) as Target[]) }
}

/**
 * Weights to start from: the body's, and the head's where it learns the same again. Another head, or other labels, start
 * anew.
 */
export function startOf(base: PublishedEncoder, head: EncoderHead, labels: readonly string[]): Weights {
  const again =
    base.head.task === head.task &&
    base.labels.length === labels.length &&
    base.labels.every((label, i) => label === labels[i])
  // BERT's pooler belongs to its body; in the other layouts it is part of the classifier
  const known = (name: string) =>
    again ||
    !/^(classifier|masked|pooler)\//.test(name) ||
    (name.startsWith('pooler/') && base.config.layout === 'bert')
  const start: Weights = {}
  for (const { name, dims } of encoderParameters(base.config, head)) {
    const weight = base.weights[name]
    if (weight && known(name) && weight.dims.join() === dims.join()) start[name] = weight
  }
  return start
}
