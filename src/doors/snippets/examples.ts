import type { Manifest } from '../../bundle/manifest.ts'
import type { Version } from '../../registry/registry.ts'
import { hubBody } from '../hub.ts'
import { type Slot, viewOf } from '../views.ts'

/** A text that fits what the model learnt to read, as far as its labels tell. */
const TEXT = 'what a lovely film'

/** A value for one slot: nested lists of its shape, one row where any number is taken. */
function exampleOf({ dtype, shape }: Slot): unknown {
  const [size, ...rest] = shape
  if (size === undefined) return dtype === 'string' ? TEXT : dtype === 'bool' ? true : 1
  const one = exampleOf({ name: '', dtype, shape: rest })
  return Array.from({ length: size < 0 ? 1 : Math.min(size, 4096) }, () => one)
}

const dimsOf = (slot: Slot) => slot.shape.map((size) => (size < 0 ? 1 : size))

/** What a call of a model looks like, by task: from its signature alone. */
export interface Example {
  task: Manifest['task']
  text: string
  /** Nested lists by input, for models of tensors. */
  tensors: Record<string, unknown>
  slots: { slot: Slot; dims: number[] }[]
  /** The body of the run route, for tasks of the hub. */
  body?: Record<string, unknown>
}

export function examplesFor(version: Pick<Version, 'name' | 'manifest'>): Example {
  const { task } = version.manifest
  const hub = hubBody(task)
  if (hub) return { task, text: TEXT, tensors: {}, slots: [], body: hub.example }
  const slots = viewOf(version).inputs(version.manifest)
  return {
    task,
    text: TEXT,
    tensors: Object.fromEntries(slots.map((slot) => [slot.name, exampleOf(slot)])),
    slots: slots.map((slot) => ({ slot, dims: dimsOf(slot) })),
  }
}
