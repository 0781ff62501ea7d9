import { fail } from '../base/errors.ts'

/** What a value is: a text, a list of texts, a number, or a file in base64 or as a data URL. */
export type FieldKind = 'text' | 'texts' | 'number' | 'integer' | 'boolean' | 'image' | 'audio'

/** A task of the Hugging Face hub as its own API has it: `inputs` (bare where there is one) and `parameters`. */
export interface HubTask {
  readonly what: string
  readonly inputs: Readonly<Record<string, FieldKind>>
  readonly parameters: Readonly<Record<string, FieldKind>>
  /** Parameters that must be given. */
  readonly required?: readonly string[]
}

const writing = { max_new_tokens: 'integer', num_beams: 'integer' } as const
const choice = { candidate_labels: 'texts', hypothesis_template: 'text' } as const

/** Tasks that transformers.js runs, beyond those that have an engine of our own. */
export const hubTasks = {
  'question-answering': {
    what: 'Answers a question with a stretch of a text.',
    inputs: { question: 'text', context: 'text' },
    parameters: { top_k: 'integer' },
  },
  translation: {
    what: 'Translates a text.',
    inputs: { text: 'text' },
    parameters: { ...writing, src_lang: 'text', tgt_lang: 'text' },
  },
  summarization: { what: 'Summarises a text.', inputs: { text: 'text' }, parameters: writing },
  'text2text-generation': {
    what: 'Writes a text from a text, as the model was taught.',
    inputs: { text: 'text' },
    parameters: writing,
  },
  'zero-shot-classification': {
    what: 'Says which of the given labels fit a text.',
    inputs: { text: 'text' },
    parameters: { ...choice, multi_label: 'boolean' },
    required: ['candidate_labels'],
  },
  'automatic-speech-recognition': {
    what: 'Writes down what is said in a recording.',
    inputs: { audio: 'audio' },
    parameters: { language: 'text', task: 'text', return_timestamps: 'boolean', chunk_length_s: 'number' },
  },
  'object-detection': {
    what: 'Finds things in an image, with their boxes.',
    inputs: { image: 'image' },
    parameters: { threshold: 'number' },
  },
  'image-segmentation': {
    what: 'Says which parts of an image belong to what; masks are PNG files in base64.',
    inputs: { image: 'image' },
    parameters: { threshold: 'number' },
  },
  'zero-shot-image-classification': {
    what: 'Says which of the given labels fit an image.',
    inputs: { image: 'image' },
    parameters: choice,
    required: ['candidate_labels'],
  },
} as const satisfies Record<string, HubTask>

export type HubTaskName = keyof typeof hubTasks
export const hubTaskNames = Object.keys(hubTasks) as HubTaskName[]
/** The description of a task of the hub; undefined for all others. */
export const hubTaskOf = (task: string): HubTask | undefined =>
  Object.hasOwn(hubTasks, task) ? hubTasks[task as HubTaskName] : undefined

/** A task that an engine of our own runs; throws UNSUPPORTED for one of the hub. */
export function ownTask<Task extends string>(task: Task): Exclude<Task, HubTaskName> {
  if (!hubTaskOf(task)) return task as Exclude<Task, HubTaskName>
  throw fail('UNSUPPORTED', {
    what: `this with a model for ${task}`,
    instead: 'It is run by transformers.js as it is.',
  })
}

/** Named values of a task, as they travel to the engine. */
export interface HubInput {
  readonly inputs: Readonly<Record<string, string | Uint8Array>>
  readonly parameters: Readonly<Record<string, unknown>>
}
