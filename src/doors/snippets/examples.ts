import type { Manifest } from '../../bundle/manifest.ts'
import type { Version } from '../../registry/registry.ts'
import { hubBody, IMAGE } from '../hub.ts'
import { maskOf, type Slot, viewOf } from '../views.ts'

/** A text that fits what the model learnt to read, as far as its labels tell. */
const TEXT = 'what a lovely film'

/** A value for one slot: nested lists of its shape, one row where any number is taken. */
function exampleOf(slot: Slot, text: string): unknown {
  const { dtype, image } = slot
  const [size, ...shape] = slot.shape
  if (size === undefined) return dtype === 'string' ? (image ? IMAGE : text) : dtype === 'bool' ? true : 1
  const one = exampleOf({ ...slot, shape }, text)
  return Array.from({ length: size < 0 ? 1 : Math.min(size, 4096) }, () => one)
}

const dimsOf = (slot: Slot) => slot.shape.map((size) => (size < 0 ? 1 : size))

/** What a call of a model looks like, by task: from its signature alone. */
export interface Example {
  task: Manifest['task']
  /** Whether the model converses. */
  chat: boolean
  /** What the one input of texts or images is given. */
  text: string
  /** Nested lists by input. */
  tensors: Record<string, unknown>
  slots: { slot: Slot; dims: number[] }[]
  /** The body of the run route, for tasks of the hub. */
  body?: Record<string, unknown>
}

export function examplesFor(version: Pick<Version, 'name' | 'manifest'>): Example {
  const { task, pipeline = {} } = version.manifest
  const chat = 'chatTemplate' in pipeline
  const hub = hubBody(task)
  if (hub) return { task, chat, text: TEXT, tensors: {}, slots: [], body: hub.example }
  const text = task === 'fill-mask' ? `what a ${maskOf(version.manifest)} film` : TEXT
  const slots = viewOf(version).inputs(version.manifest)
  return {
    task,
    chat,
    text: slots.some(({ image }) => image) ? IMAGE : text,
    tensors: Object.fromEntries(slots.map((slot) => [slot.name, exampleOf(slot, text)])),
    slots: slots.map((slot) => ({ slot, dims: dimsOf(slot) })),
  }
}
