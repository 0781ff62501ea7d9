import { fail } from '../base/errors.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type DataType, dataTypes, type Tensor } from '../graph/dtype.ts'
import type { Version } from '../registry/registry.ts'
import { askRef, type Prediction } from '../serve/deployments.ts'
import type { GenerationInput } from '../serve/generation.ts'
import { rank } from '../serve/rank.ts'
import { beginGeneration, type Caller } from './ask.ts'
import { counted } from './counted.ts'
import { imageFromText } from './data.ts'

/** A named input or output as protocols of tensors show it; -1 is any size. */
export interface Slot {
  name: string
  dtype: DataType
  shape: number[]
  /** Its texts are images in base64 (or as data URLs); where a protocol carries bytes, the image file itself. */
  image?: boolean
}

/** Image files of a slot of images, as a protocol of bytes carries them. */
export interface Files {
  dtype: 'files'
  dims: readonly number[]
  data: readonly Uint8Array[]
}
export type Given = Tensor | Files

export interface Answer {
  model: string
  version: number
  manifest: Manifest
  tensors: Record<string, Tensor>
}

/** How a model of a task looks to protocols of named tensors: the Open Inference Protocol, TensorFlow Serving, MLflow. */
interface View {
  inputs(manifest: Manifest): Slot[]
  outputs(manifest: Manifest): Slot[]
  /** Runs the model on inputs that have the names of `inputs`. */
  run(
    caller: Caller,
    ref: string,
    version: Version,
    inputs: Record<string, Given>,
    settings: GenerationInput,
  ): Promise<Answer>
}

const slots = (specs: Manifest['signature']['inputs']): Slot[] =>
  specs.map(({ name, dtype, shape }) => ({
    name,
    dtype: dtype as DataType,
    shape: shape.map((dim) => (typeof dim === 'number' ? dim : -1)),
  }))

const text: Slot = { name: 'text', dtype: 'string', shape: [-1] }

/** The texts of the one input; throws TENSOR_INVALID. */
function textsOf({ text }: Record<string, Given>, model: string): string[] {
  if (text.dtype === 'string') return text.data as string[]
  const got = text.dtype === 'files' ? 'files' : dataTypes[text.dtype].oip
  throw fail('TENSOR_INVALID', { message: `inputs.text.datatype: expected BYTES, got ${got}`, model })
}

const answerOf = ({ model, version, manifest }: Prediction, tensors: Record<string, Tensor>): Answer => ({
  model,
  version,
  manifest,
  tensors,
})

/** The view of a task whose models answer texts; `tensor` makes the one output of their answer. */
const ofTexts = (
  output: (manifest: Manifest) => Slot,
  tensor: (output: Record<string, unknown>, count: number) => Tensor,
): View => ({
  inputs: () => [text],
  outputs: (manifest) => [output(manifest)],
  async run({ house, door, requestId, ...options }, ref, { name, manifest }, inputs) {
    const texts = textsOf(inputs, name)
    const call = () => house.deployments.predict(ref, texts, options)
    const prediction = await counted(house, door, ref, requestId, call)
    const said = prediction.output as unknown as Record<string, unknown>
    return answerOf(prediction, { [output(manifest).name]: tensor(said, texts.length) })
  },
})

/** What stands for a word to be guessed, in texts for a model that fills masks. */
export const maskOf = ({ pipeline }: Pick<Manifest, 'pipeline'>) =>
  typeof pipeline?.mask === 'string' ? pipeline.mask : '[MASK]' // bundles of before do not say

/** Structured answers as JSON, one for each text. */
const jsonTexts = (values: unknown): Tensor => {
  const data = (values as unknown[]).map((value) => JSON.stringify(value))
  return { dtype: 'string', dims: [data.length], data }
}

const image: Slot = { name: 'image', dtype: 'string', shape: [-1], image: true }

const classOutputs = ({ labels }: Manifest): Slot[] => [
  { name: 'label', dtype: 'string', shape: [-1] },
  { name: 'score', dtype: 'float32', shape: [-1] },
  { name: 'probabilities', dtype: 'float32', shape: [-1, labels.length] },
]

/** Label, score and probabilities of each row, as tensors. */
function classTensors(manifest: Manifest, probabilities: Float32Array): Record<string, Tensor> {
  const { labels } = manifest
  const rows = probabilities.length / labels.length
  const best = Array.from({ length: rows }, (_, row) => rank(manifest, probabilities, row, 1)[0])
  return {
    label: { dtype: 'string', dims: [rows], data: best.map(({ label }) => label) },
    score: { dtype: 'float32', dims: [rows], data: Float32Array.from(best, ({ score }) => score) },
    probabilities: { dtype: 'float32', dims: [rows, labels.length], data: probabilities },
  }
}

const views: Partial<Record<Manifest['task'], View>> = {
  'image-classification': {
    inputs: () => [image],
    outputs: classOutputs,
    async run({ house, door, requestId, ...options }, ref, { name, manifest }, inputs) {
      const { dtype, data } = inputs.image
      if (dtype !== 'string' && dtype !== 'files')
        throw fail('TENSOR_INVALID', { message: 'inputs.image: expected images as BYTES', model: name })
      const images = (data as readonly (string | Uint8Array)[]).map((one, i) =>
        typeof one === 'string' ? imageFromText(one, `inputs.image[${i}]`) : one,
      )
      const call = () => house.deployments.classifyImages(ref, images, options)
      const prediction = await counted(house, door, ref, requestId, call)
      const { probabilities } = prediction.output as Extract<typeof prediction.output, { kind: 'images' | 'texts' }>
      return answerOf(prediction, classTensors(manifest, probabilities))
    },
  },
  'feature-extraction': ofTexts(
    ({ signature }) => {
      const width = Number(signature.outputs[0]?.shape.at(-1)) || -1
      return { name: 'embeddings', dtype: 'float32', shape: [-1, width] }
    },
    ({ vectors, width }, count) => ({
      dtype: 'float32',
      dims: [count, width as number],
      data: vectors as Float32Array,
    }),
  ),
  'fill-mask': ofTexts(
    () => ({ name: 'fills', dtype: 'string', shape: [-1] }),
    ({ fills }) => jsonTexts(fills),
  ),
  'token-classification': ofTexts(
    () => ({ name: 'entities', dtype: 'string', shape: [-1] }),
    ({ entities }) => jsonTexts(entities),
  ),
  tensor: {
    inputs: ({ signature }) => slots(signature.inputs),
    outputs: ({ signature }) => slots(signature.outputs),
    async run({ house, door, requestId, ...options }, ref, _version, inputs) {
      // files come only for slots of images
      const call = () => house.deployments.infer(ref, inputs as Record<string, Tensor>, options)
      const prediction = await counted(house, door, ref, requestId, call)
      const { output } = prediction
      return answerOf(prediction, output.kind === 'tensors' ? output.outputs : {})
    },
  },
  'text-classification': {
    inputs: () => [text],
    outputs: classOutputs,
    async run({ house, door, requestId, ...options }, ref, { name, manifest }, inputs) {
      const texts = textsOf(inputs, name)
      const prediction = await counted(house, door, ref, requestId, () =>
        house.deployments.predict(ref, texts, options),
      )
      const { output } = prediction
      if (output.kind !== 'texts') throw new TypeError(`a classifier answered ${output.kind}`)
      return answerOf(prediction, classTensors(manifest, output.probabilities))
    },
  },
  'text-generation': {
    inputs: () => [text],
    outputs: () => [{ name: 'text', dtype: 'string', shape: [-1] }],
    async run(caller, ref, { name, version, manifest }, inputs, settings) {
      const prompts = textsOf(inputs, name)
      const { batchLimit } = caller.house.config
      if (prompts.length > Math.min(64, batchLimit))
        throw fail('TENSOR_INVALID', { message: `inputs.text: at most 64 prompts, got ${prompts.length}`, model: name })
      const data = await Promise.all(
        prompts.map(async (prompt) => {
          let written = ''
          const { events } = await beginGeneration(caller, ref, { ...settings, prompt })
          for await (const event of events) written += event.text
          return written
        }),
      )
      return { model: name, version, manifest, tensors: { text: { dtype: 'string', dims: [data.length], data } } }
    },
  },
}

/** The view of a model's task; throws UNSUPPORTED. */
export function viewOf({ name, manifest }: Pick<Version, 'name' | 'manifest'>): View {
  const view = views[manifest.task]
  if (view) return view
  throw fail('UNSUPPORTED', {
    what: `${manifest.task} (model "${name}") through this protocol`,
    instead: 'Use POST /api/models/:model/predict.',
  })
}

/** Runs a model on named inputs; throws TENSOR_INVALID for names that it does not have, and what the model throws. */
export function runView(
  caller: Caller,
  version: Version,
  inputs: Record<string, Given>,
  settings: GenerationInput = {},
): Promise<Answer> {
  const { name, manifest } = version
  const view = viewOf(version)
  const names = view.inputs(manifest).map((slot) => slot.name)
  const given = Object.keys(inputs)
  if (manifest.task !== 'tensor' && (given.length !== names.length || names.some((one) => !(one in inputs)))) {
    const message = `inputs: expected ${names.map((one) => `"${one}"`).join(', ')}, got ${given.join(', ').slice(0, 200)}`
    throw fail('TENSOR_INVALID', { message, model: name })
  }
  return view.run(caller, askRef(version), version, inputs, settings)
}
