import { fail } from '../base/errors.ts'
import { Edit } from '../graph/edit.ts'
import { families } from '../nn/families.ts'
import type { Weights } from '../train/checkpoint.ts'
import type { Option, Options } from '../train/options.ts'
import { pipelineOf } from './inputs.ts'
import { learn, teacherOf } from './learn.ts'
import type { Pass } from './pass.ts'
import type { Subject } from './subject.ts'
import { labelledBy } from './unlabelled.ts'

const students = Object.entries(families).flatMap(([name, { task }]) => (task === 'text-classification' ? [name] : []))

const options = {
  family: { type: 'string', default: 'textcnn', choices: students, description: 'the family that learns' },
  temperature: {
    type: 'number',
    default: 2,
    minimum: 1,
    maximum: 20,
    description: 'above 1 the teacher’s lesser guesses weigh more',
  },
  share: {
    type: 'number',
    default: 0.7,
    minimum: 0,
    maximum: 1,
    description: 'the teacher’s part of the loss; the labels have the rest',
  },
  hidden: {
    type: 'number',
    default: 0.5,
    minimum: 0,
    maximum: 100,
    description: 'weight of the teacher’s vectors before its last product beside that loss; 0 teaches by answers alone',
  },
  table: {
    type: 'boolean',
    default: true,
    description: 'begin with the teacher’s vectors of tokens; the student’s width becomes theirs',
  },
} as const satisfies Record<string, Option>

/** A smaller family learns from what the source makes of the training texts, and from their labels where they have some. */
export const distil: Pass = {
  description: 'teach a smaller family what this version makes of the training texts, labelled or not',
  options,
  wantsFloats: false,
  async *apply(subject, { family, temperature, share, hidden, table }, context) {
    if (subject.manifest.task !== 'text-classification')
      throw fail('UNSUPPORTED', {
        what: `distilling a model of the task ${subject.manifest.task}`,
        instead: 'Classifiers of texts can teach.',
      })
    const teacher = await teacherOf(
      subject,
      { temperature: Number(temperature), share: Number(share), hidden: Number(hidden) },
      context.threads,
    )
    const { data, filled } = await labelledBy(teacher, subject, context)
    const training = { ...context.training, ...(data && { data }), ...(filled > 0 && { read: {} }) }
    const { maxLength } = subject.manifest.pipeline as { maxLength?: number }
    const tokens = table === true && family !== 'bow' ? tokenTable(subject, context.training.options.width) : undefined
    const learnt = yield* learn(
      subject,
      { ...context, training },
      {
        family: String(family),
        options: { ...(maxLength !== undefined && { maxLength }), ...(tokens && { width: tokens.dims[1] }) },
        teacher,
        ...(tokens && { initial: { 'embedding/weight': tokens } }),
      },
    )
    const [before, after] = [subject, learnt].map(
      ({ manifest }) => `${manifest.family} of ${manifest.parameters.toLocaleString('en')} numbers`,
    )
    const more = filled > 0 ? `, ${filled} texts by its answers alone` : ''
    return { subject: learnt, note: `a ${after} learnt from a ${before}${more}` }
  },
}

/**
 * The vectors of tokens that the teacher begins with, float32 (vocabulary, width); undefined where it stores none such, or
 * none of the width that was asked for.
 */
function tokenTable(subject: Subject, width: Options[string] | undefined): Weights[string] | undefined {
  const { model } = subject
  const edit = new Edit(model)
  const ids = new Set(['ids', 'input_ids'])
  const gather = edit.nodes.find(({ opType, input }) => opType === 'Gather' && ids.has(input[1]))
  const tensor = gather && edit.dims(gather.input[0])?.length === 2 ? edit.tensor(gather.input[0]) : undefined
  const fits = tensor?.dims[0] === pipelineOf(subject).vocabularySize && (width ?? tensor.dims[1]) === tensor.dims[1]
  return fits && tensor.dtype === 'float32' ? { dims: tensor.dims, data: tensor.data as Float32Array } : undefined
}
