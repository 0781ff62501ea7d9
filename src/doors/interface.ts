import type { Version } from '../registry/registry.ts'
import { hubBody } from './hub.ts'
import { examplesFor } from './snippets/examples.ts'
import { type Slot, viewOf } from './views.ts'

/** How a version is asked: its inputs and outputs, the route, the JSON Schema of its body, and an example of one. */
export interface Interface {
  inputs: Slot[]
  outputs: Slot[]
  route: string
  schema: Record<string, unknown>
  example: unknown
}

const object = (properties: Record<string, unknown>, required = Object.keys(properties)) => ({
  type: 'object',
  properties,
  required,
})
const texts = { type: 'array', items: { type: 'string' }, minItems: 1 }

export function interfaceOf(version: Pick<Version, 'name' | 'version' | 'manifest'>): Interface {
  const { name, manifest } = version
  const at = (path: string) => `POST /api/models/${name}@${version.version}/${path}`
  const hub = hubBody(manifest.task)
  if (hub) return { inputs: [], outputs: [], route: at('run'), ...hub }
  const view = viewOf(version)
  const { text, tensors, slots } = examplesFor(version)
  const shared = { inputs: view.inputs(manifest), outputs: view.outputs(manifest) }
  if (manifest.task === 'tensor') {
    const tensor = object({ shape: { type: 'array', items: { type: 'integer' } }, data: { type: 'array' } })
    const inputs = object(Object.fromEntries(slots.map(({ slot }) => [slot.name, tensor])))
    const example = slots.map(({ slot, dims }) => [slot.name, { shape: dims, data: flat(tensors[slot.name]) }])
    return {
      ...shared,
      route: at('predict'),
      schema: object({ inputs }),
      example: { inputs: Object.fromEntries(example) },
    }
  }
  if (manifest.task === 'text-generation')
    return {
      ...shared,
      route: at('generate'),
      schema: object({ prompt: { type: 'string' } }),
      example: { prompt: text },
    }
  if (manifest.task === 'image-classification')
    return { ...shared, route: at('images'), schema: { type: 'string', format: 'binary' }, example: 'an image file' }
  return { ...shared, route: at('predict'), schema: object({ inputs: texts }), example: { inputs: [text] } }
}

const flat = (value: unknown): unknown[] => (Array.isArray(value) ? value.flatMap(flat) : [value])
