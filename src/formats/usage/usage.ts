import { outputOf } from '../../base/problem.ts'
import type { PipelineConfig } from '../../data/pipeline.ts'
import { PublishedTokenizer } from '../../data/published.ts'
import type { WrittenModel } from '../formats.ts'
import type { Files } from '../source.ts'
import type { Asked } from './asked.ts'
import { publishedUsage } from './published.ts'
import { pythonUsage } from './python.ts'
import { browserUsage, nodeUsage } from './script.ts'

/** Element types that the programs for plain graphs can make of JSON. */
const plain = ['float32', 'float64', 'int32', 'int64', 'bool']

const recurrent = ['LSTM', 'GRU', 'RNN', 'Scan', 'Loop']

/**
 * What goes with an export: the model's pipeline, labels and signature as data, its tokenizer, and a short program for each
 * ecosystem that can run the format, which asks the model as the server does. Programs are left out where the ecosystem
 * lacks what the pipeline takes.
 */
export function usageFiles({ model, manifest, tokenizer }: WrittenModel, format: string): Files {
  const { task, labels, pipeline = {}, signature } = manifest
  const published = publishedUsage(manifest, format)
  if (published) return published
  if (task === 'tensor' && !signature.inputs.every(({ dtype }) => plain.includes(dtype))) return {}
  const asked: Asked = {
    task,
    format,
    pipeline: pipeline as unknown as PipelineConfig,
    output: outputOf[manifest.problem ?? 'classification'],
    mask: (task === 'fill-mask' && new PublishedTokenizer(tokenizer!, { maxLength: 1 }).mask?.content) || '[MASK]',
    loops: model.graph!.node.some(({ opType }) => recurrent.includes(opType)),
    fit: String(pipeline.fit),
    channels: Number(pipeline.channels),
  }
  return encoded({
    ...(tokenizer !== undefined && { 'tokenizer.json': tokenizer }),
    'pipeline.json': JSON.stringify({ labels, pipeline, signature }, null, 2),
    'usage.py': pythonUsage(asked),
    'usage.ts': nodeUsage(asked),
    ...browserUsage(asked),
  })
}

const encoded = (files: Record<string, string | undefined>): Files =>
  Object.fromEntries(
    Object.entries(files).flatMap(([name, text]) =>
      text === undefined ? [] : [[name, new TextEncoder().encode(text)] as const],
    ),
  )
