import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import { version as code } from '../base/version.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { type PipelineConfig, TextPipeline } from '../data/pipeline.ts'
import { writeModel } from '../graph/codec.ts'
import type { ModelProto } from '../graph/gen/onnx_pb.js'
import { signatureOf } from '../graph/signature.ts'
import { imagesSeen, servingImages } from './bare/images.ts'
import { readsTexts, servingTexts } from './bare/texts.ts'
import type { StoredDecoder } from './decoders/decoder.ts'
import { type Format, formats } from './formats.ts'
import type { ImportOptions } from './options.ts'
import { refusePickles } from './pickle.ts'
import type { Files, Source } from './source.ts'

/** Tokens kept of a text by models that take any number. */
const LENGTH = 512

/** Reads a model of any known format into a bundle. Throws FORMAT_UNKNOWN, TASK_UNKNOWN, FORMAT_INVALID, MODEL_INVALID or UNSUPPORTED. */
export async function importBundle(
  source: Source,
  options: ImportOptions,
): Promise<{ manifest: Manifest; files: Files }> {
  // a published folder may have pickles beside what is read; it refuses them where there is nothing else
  const whole = formats.some(({ readBundle, recognises }) => readBundle && recognises?.(source))
  if (!whole) refusePickles(source)
  const model = modelFiles(source)
  const format = formatOf(model, options.format)
  const common = {
    format: 'athanor-bundle',
    formatVersion: 1,
    metrics: {},
    lineage: lineageOf(format.name, options),
    ...(options.description !== undefined && { description: options.description }),
    createdAt: new Date().toISOString(),
  } as const
  const parts = await format.readBundle?.(source, options)
  if (parts) return { manifest: { ...common, ...parts.manifest }, files: parts.files }
  if (whole) refusePickles(source)
  const read = await format.read!(model)
  if (read.decoder) return importDecoder(read.decoder, format.name, options)
  const task = taskOf(read.model, options)
  const served = {
    'text-classification': () => textParts(read.model, read.masksPadding ?? false, options),
    'image-classification': () => servingImages(read.model, options),
    tensor: () => undefined,
  }[task]()
  const graph = served?.model ?? read.model
  const manifest: Manifest = {
    ...common,
    task,
    family: format.name,
    signature: signatureOf(graph),
    labels: served ? labelsOf(served.classes, options) : (options.labels ?? []),
    ...(served && { pipeline: served.config as unknown as Record<string, unknown> }),
    parameters: countStored(graph),
  }
  const files: Files = { 'model.onnx': writeModel(graph) }
  if (options.tokenizer !== undefined) files['tokenizer.json'] = new TextEncoder().encode(options.tokenizer)
  return { manifest, files }
}

const lineageOf = (format: string, { source }: ImportOptions) => ({
  code,
  options: { format, ...(source !== undefined && { source }) },
})

type BareTask = 'text-classification' | 'image-classification' | 'tensor'

/**
 * What a graph is for. It must be said where it may read texts or see images: how they become its numbers is in no file of
 * it. A tokenizer says it, and so do labels for images. Throws TASK_UNKNOWN or OPTION_INVALID.
 */
function taskOf(model: ModelProto, { task, tokenizer, labels }: ImportOptions): BareTask {
  if (tokenizer !== undefined && task !== undefined && task !== 'text-classification')
    throw fail('OPTION_INVALID', { option: 'task', reason: 'a model with a tokenizer takes texts' })
  if (tokenizer !== undefined) return 'text-classification'
  if (task === 'tensor' || task === 'image-classification') return task
  const images = imagesSeen(model) !== undefined
  if (task === undefined && images && labels) return 'image-classification'
  if (task === undefined && !images && !readsTexts(model)) return 'tensor'
  const { inputs, outputs } = signatureOf(model)
  const told = (list: typeof inputs) =>
    list
      .map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(', ')}]`)
      .join(', ')
      .slice(0, 200)
  throw fail('TASK_UNKNOWN', { inputs: told(inputs), outputs: told(outputs) })
}

function labelsOf(classes: number, options: ImportOptions): string[] {
  const labels = options.labels ?? Array.from({ length: classes }, (_, i) => String(i))
  if (labels.length !== classes)
    throw fail('OPTION_INVALID', { option: 'labels', reason: `the model has ${classes} classes, not ${labels.length}` })
  return labels
}

/** A source without what our exports put beside a model; all of a Hugging Face folder is the model's own. */
function modelFiles(source: Source): Source {
  if (source.names.includes('config.json')) return source
  const beside = new Set(['pipeline.json', 'tokenizer.json', 'usage.py', 'usage.ts', 'model.js', 'browser.js'])
  const names = source.names.filter((name) => !beside.has(name))
  return names.length > 0 ? { ...source, names } : source
}

/** A decoder brings its tokenizer and knows its task. */
async function importDecoder(decoder: StoredDecoder, format: string, options: ImportOptions) {
  const { bundleDecoder } = await import('./decoders/decoder.ts')
  const { manifest, files } = bundleDecoder(decoder)
  const whole: Manifest = {
    format: 'athanor-bundle',
    formatVersion: 1,
    ...manifest,
    metrics: {},
    lineage: lineageOf(format, options),
    ...(options.description !== undefined && { description: options.description }),
    createdAt: new Date().toISOString(),
  }
  return { manifest: whole, files: { ...files, 'tokenizer.json': new TextEncoder().encode(files['tokenizer.json']) } }
}

/** The format of that name, or the one whose content it is. */
function formatOf(source: Source, name: string | undefined): Format {
  const readable = formats.filter(({ read, readBundle }) => read || readBundle)
  const names = readable.map((format) => format.name)
  const found = formats.find((format) => (name === undefined ? format.recognises?.(source) : format.name === name))
  if (found?.read || found?.readBundle) return found
  if (found) throw fail('UNSUPPORTED', { what: `reading ${found.title}`, instead: found.in })
  if (name === undefined) throw fail('FORMAT_UNKNOWN', { what: `"${source.names[0].slice(0, 80)}"` })
  throw fail(
    'OPTION_INVALID',
    { option: 'format', reason: `"${name.slice(0, 40)}" is none of ${names.join(', ')}` },
    { suggestion: suggest(name, names) },
  )
}

function textParts(read: ModelProto, masksPadding: boolean, options: ImportOptions) {
  const { tokenizer = '', padding = 'pre', truncating = 'pre' } = options
  const { inputs } = signatureOf(read)
  const time = inputs[0]?.shape[1]
  const fixed = typeof time === 'number' ? time : options.length
  const masked = masksPadding || inputs.some(({ name }) => name === 'attention_mask')
  if (fixed === undefined && !masked) {
    throw fail('OPTION_INVALID', {
      option: 'length',
      reason:
        'the model takes rows of any length and padding changes its answer: say how long the rows were in training',
    })
  }
  if (typeof time === 'number' && options.length !== undefined && options.length !== time)
    throw fail('OPTION_INVALID', { option: 'length', reason: `the model takes rows of ${time} ids` })
  const maxLength = fixed ?? LENGTH
  // Hugging Face's tokenizers cut texts themselves, and pad them at the end
  const published = isPublished(tokenizer)
  const served = servingTexts(read, { length: fixed, padding: published && !options.padding ? 'post' : padding })
  if (published) return { ...served, config: TextPipeline.published(tokenizer, maxLength).config }
  const config: PipelineConfig = {
    normalise: { unicode: 'none', lowercase: false },
    tokenizer: 'keras',
    vocabulary: 0,
    minimumCount: 1,
    maxLength,
    truncate: truncating === 'pre' ? 'start' : 'end',
  }
  const { vocabularySize } = TextPipeline.load(config, tokenizer)
  return { ...served, config: { ...config, vocabulary: vocabularySize } }
}

/** Whether this is a tokenizer.json of Hugging Face's, not the JSON of a Keras Tokenizer. */
function isPublished(tokenizer: string): boolean {
  try {
    const { model, class_name } = JSON.parse(tokenizer) as { model?: unknown; class_name?: unknown }
    return typeof model === 'object' && model !== null && class_name === undefined
  } catch {
    return false
  }
}

const countStored = ({ graph }: ModelProto) =>
  (graph?.initializer ?? []).reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * Number(b), 1), 0)
