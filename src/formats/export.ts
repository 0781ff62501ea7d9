import { fail } from '../base/errors.ts'
import { suggest } from '../base/suggest.ts'
import type { Manifest } from '../bundle/manifest.ts'
import { readModel } from '../graph/codec.ts'
import { formats, type WriteOptions } from './formats.ts'
import type { Files } from './source.ts'
import { publishedUsage } from './usage/published.ts'
import { usageFiles } from './usage/usage.ts'

/**
 * Writes a version in a format: its files, the pipeline as data and programs that use it beside them. Throws OPTION_INVALID
 * for an unknown format, UNSUPPORTED naming what the format cannot express.
 */
export async function exportBundle(
  manifest: Manifest,
  files: Readonly<Record<string, Uint8Array>>,
  formatName: string,
  options: WriteOptions,
): Promise<Files> {
  const format = formats.find(({ name }) => name === formatName)
  if (!format) {
    const names = formats.filter(({ write, writeBundle }) => write || writeBundle).map(({ name }) => name)
    throw fail(
      'OPTION_INVALID',
      { option: 'format', reason: `"${formatName.slice(0, 40)}" is none of ${names.join(', ')}` },
      { suggestion: suggest(formatName, names) },
    )
  }
  const whole = await format.writeBundle?.(manifest, files)
  if (whole) return { ...whole, ...publishedUsage(manifest, format.name) }
  if (!format.write) throw fail('UNSUPPORTED', { what: `writing ${format.title}`, instead: format.out })
  if (!files['model.onnx']) {
    throw fail('UNSUPPORTED', {
      what: `writing ${format.title} from a model of the task ${manifest.task}`,
      instead: 'Download its files as they are.',
    })
  }
  const decoder = new TextDecoder()
  const tokenizer = files['tokenizer.json'] && decoder.decode(files['tokenizer.json'])
  const model = readModel(files['model.onnx'])
  const written = { model, manifest, ...(tokenizer && { tokenizer }) }
  return { ...(await format.write(written, options)), ...usageFiles(written, format.name) }
}
