import { families } from '../nn/families.ts'
import type { Option } from '../train/options.ts'
import { learn, teacherOf } from './learn.ts'
import type { Pass } from './pass.ts'

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
} as const satisfies Record<string, Option>

/** A smaller family learns from what the source makes of the training texts, and from their labels. */
export const distil: Pass = {
  description: 'teach a smaller family what this version makes of the training texts',
  options,
  wantsFloats: false,
  async *apply(subject, { family, temperature, share }, context) {
    const teacher = await teacherOf(
      subject,
      { temperature: Number(temperature), share: Number(share) },
      context.threads,
    )
    const { maxLength } = subject.manifest.pipeline as { maxLength?: number }
    const learnt = yield* learn(subject, context, {
      family: String(family),
      options: maxLength === undefined ? {} : { maxLength },
      teacher,
    })
    const [before, after] = [subject, learnt].map(
      ({ manifest }) => `${manifest.family} of ${manifest.parameters.toLocaleString('en')} numbers`,
    )
    return { subject: learnt, note: `a ${after} learnt from a ${before}` }
  },
}
