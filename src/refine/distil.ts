import { fail } from '../base/errors.ts'
import { families } from '../nn/families.ts'
import type { Option } from '../train/options.ts'
import { inventor } from './invent.ts'
import { learn } from './learn.ts'
import type { Pass } from './pass.ts'
import { teacherOf, vectorsOf } from './teacher.ts'
import { tokenTable } from './tokens.ts'
import { labelledBy } from './unlabelled.ts'

const students = Object.entries(families).flatMap(([name, { task }]) => (task === 'text-classification' ? [name] : []))

/** What vectors count where nothing is said. */
const HIDDEN = 0.5

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
    default: null,
    minimum: 0,
    maximum: 100,
    description: `weight of the teacher’s vectors before its last product beside that loss: ${HIDDEN} where it has such, if not given; 0 teaches by answers alone`,
  },
  states: {
    type: 'number',
    default: 0,
    minimum: 0,
    maximum: 100,
    description:
      'weight of the means of the tokens after each layer beside that loss, for a transformer taught by a Transformer: its layers learn of layers spread over the teacher’s',
  },
  table: {
    type: 'boolean',
    default: true,
    description: 'begin with the teacher’s vectors of tokens, in as many numbers as the student has for them',
  },
  made: {
    type: 'integer',
    default: 0,
    minimum: 0,
    maximum: 100,
    description:
      'texts made up of each training text, which the teacher answers as well: stretches of it, and some of its words taken for others',
  },
} as const satisfies Record<string, Option>

/** A smaller family learns from what the source makes of the training texts, and from their labels where they have some. */
export const distil: Pass = {
  description: 'teach a smaller family what this version makes of the training texts, labelled or not',
  options,
  wantsFloats: false,
  async *apply(subject, { family, temperature, share, hidden, states, table, made }, context) {
    if (subject.manifest.task !== 'text-classification')
      throw fail('UNSUPPORTED', {
        what: `distilling a model of the task ${subject.manifest.task}`,
        instead: 'Classifiers of texts can teach.',
      })
    const known = vectorsOf(subject.model) === undefined ? 0 : HIDDEN
    if (Number(states) > 0 && family !== 'transformer')
      throw fail('OPTION_INVALID', { option: 'states', reason: `the family ${family} has no such layers` })
    const layers = Number(context.training.options.layers ?? families.transformer.options.layers.default)
    const teacher = await teacherOf(
      subject,
      {
        temperature: Number(temperature),
        share: Number(share),
        hidden: hidden === null ? known : Number(hidden),
        ...(Number(states) > 0 && { states: { weight: Number(states), layers } }),
      },
      context.threads,
    )
    const { data, validation, filled, invented } = await labelledBy(teacher, subject, context, {
      times: Number(made),
      ...(Number(made) > 0 && { invent: inventor(subject) }),
    })
    const training = {
      ...context.training,
      ...(data && { data }),
      ...(validation && { validation }),
      ...(filled + invented > 0 && { read: {} }),
    }
    const { maxLength } = subject.manifest.pipeline as { maxLength?: number }
    const { width: usual } = families[String(family) as keyof typeof families].options as {
      width?: { default: number }
    }
    const width = Number(context.training.options.width ?? usual?.default)
    const tokens = table === true && family !== 'bow' ? tokenTable(subject, width) : undefined
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
    const alone = filled > 0 ? `, ${filled} texts by its answers alone` : ''
    const more = invented > 0 ? `${alone}, ${invented} made up` : alone
    return { subject: learnt, note: `a ${after} learnt from a ${before}${more}` }
  },
}
