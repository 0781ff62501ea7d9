import { fail } from '../../base/errors.ts'
import { type HubTaskName, hubTaskNames } from '../../bundle/hub.ts'
import type { Manifest } from '../../bundle/manifest.ts'
import { readModel } from '../../graph/codec.ts'
import { invalid, parseJson, type Source } from '../source.ts'

/** What a published model is for, by the end of its class's name. */
const tasks: readonly (readonly [ending: RegExp, HubTaskName])[] = [
  [/ForQuestionAnswering$/, 'question-answering'],
  [/^(Marian\w*|M2M100\w*|NllbM\w*)Model$|^M2M100ForConditionalGeneration$/, 'translation'],
  [/ForSpeechSeq2Seq$|^Whisper\w*|ForCTC$/, 'automatic-speech-recognition'],
  [/ForObjectDetection$/, 'object-detection'],
  [/ForSegmentation$|ForSemanticSegmentation$|ForUniversalSegmentation$/, 'image-segmentation'],
  [/^(\w*CLIP\w*|Siglip\w*)Model$/, 'zero-shot-image-classification'],
  [/^(T5|MT5|Bart|MBart|LongT5|Pegasus|Blenderbot\w*)ForConditionalGeneration$/, 'text2text-generation'],
]

/** Files that the library reads: configuration and vocabularies, and graphs. */
const read = /^[\w.-]+\.(json|txt|model|jinja)$|^onnx\/[\w.-]+\.onnx$/
/** Graphs of less precision are copies where there is one of full precision. */
const reduced = /_(fp16|quantized|int8|uint8|q4|q4f16|bnb4)\.onnx$/

/** What transformers.js reads of a folder: graphs of full precision, else those of 8 bits. Throws UNSUPPORTED where there are none. */
export function libraryFiles(all: readonly string[]): string[] {
  const names = all.filter((name) => read.test(name))
  const graphs = names.filter((name) => name.endsWith('.onnx'))
  const whole = graphs.filter((name) => !reduced.test(name))
  const used = whole.length > 0 ? whole : graphs.filter((name) => name.endsWith('_quantized.onnx'))
  if (used.length === 0)
    throw fail('UNSUPPORTED', {
      what: 'a folder without onnx/*.onnx in float32 or 8 bits',
      instead: 'Export the model for transformers.js, with its graphs in the folder onnx.',
    })
  return [...names.filter((name) => !name.endsWith('.onnx')), ...used]
}

/**
 * A folder for transformers.js as a bundle that the library runs as it is; its graphs are checked here first. Throws
 * FORMAT_INVALID, MODEL_INVALID, OPTION_INVALID, or UNSUPPORTED for tasks and precisions that are not run.
 */
export function transformersBundle(source: Source, wanted: string | undefined) {
  const kept = libraryFiles(source.names)
  if (!kept.includes('config.json')) throw invalid('transformers.js', 'no config.json')
  const config = parseJson('transformers.js', source.read('config.json')) as Record<string, unknown> | null
  const task = taskOf(config, wanted)
  const graphs = kept.filter((name) => name.endsWith('.onnx'))
  const whole = !graphs.every((name) => reduced.test(name))
  let parameters = 0
  for (const name of graphs)
    for (const { dims } of readModel(source.read(name)).graph?.initializer ?? [])
      parameters += dims.reduce((a, b) => a * Number(b), 1)
  const family = typeof config?.model_type === 'string' ? config.model_type.slice(0, 60) : 'transformers'
  const manifest = {
    task,
    engine: 'transformers',
    family,
    signature: { inputs: [], outputs: [] },
    labels: [],
    pipeline: { dtype: whole ? 'fp32' : 'q8' },
    parameters,
  } satisfies Partial<Manifest>
  return {
    manifest: manifest as typeof manifest & Pick<Manifest, 'task' | 'engine'>,
    files: Object.fromEntries(kept.map((name) => [name, source.read(name)])),
  }
}

function taskOf(config: Record<string, unknown> | null, wanted: string | undefined): HubTaskName {
  const known = hubTaskNames.find((name) => name === wanted)
  if (known) return known
  if (wanted !== undefined)
    throw fail('OPTION_INVALID', { option: 'task', reason: `expected one of ${hubTaskNames.join(', ')}` })
  const classes = Array.isArray(config?.architectures) ? config.architectures.map(String) : []
  const found = tasks.find(([ending]) => classes.some((name) => ending.test(name)))
  if (found) return found[1]
  throw fail('UNSUPPORTED', {
    what: `finding the task of "${String(classes[0] ?? config?.model_type ?? 'this').slice(0, 60)}"`,
    instead: `Name it with --task: ${hubTaskNames.join(', ')}.`,
  })
}
