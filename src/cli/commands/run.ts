import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Athanor, Ranked } from '../../../client/src/index.ts'
import { fail } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { figures } from '../figures.ts'
import { type ReadingOptions, readingOf } from '../reading.ts'
import { upload } from '../upload.ts'
import { type WriteOptions, write } from './write.ts'

/**
 * Classifies texts given as arguments, or one a line on standard input; for a model of images, files. A model that writes
 * goes on from each text; one of conversations, at a terminal and without a text, converses.
 */
export async function run(context: Context, model: string, texts: string[], options: WriteOptions & { top?: string }) {
  const { client, out } = context
  const { top } = options
  const inputs = texts.length > 0 ? texts : await standardInput()
  const { task, pipeline, remote } = (await client.models.show(model)).manifest
  if (task === 'text-generation') {
    const chat = pipeline?.chatTemplate !== undefined
    if ((chat || remote) && texts.length === 0 && process.stdin.isTTY && !out.json)
      return (await import('./converse.ts')).converse(context, model, options)
    return write(context, model, inputs.length > 0 ? inputs : [''], { ...options, chat })
  }
  const files = task === 'image-classification'
  if (inputs.length === 0)
    throw fail('COMMAND_WRONG', { what: 'no text given', example: `athanor run ${model} "what a lovely film"` })
  const topK = top === undefined ? undefined : Number(top)
  if (topK !== undefined && !(Number.isInteger(topK) && topK > 0))
    throw fail('OPTION_INVALID', { option: 'top', reason: `expected a whole number, got "${top}"` })
  const most = { ...(topK !== undefined && { topK }) }
  if (task in shown) {
    const { outputs } = await client.ask(model, inputs, most)
    if (out.json) return out.document(outputs)
    return outputs.forEach((output, i) => {
      for (const line of shown[task]!(output as never))
        out.data(inputs.length === 1 ? line : `${line}\t${inputs[i].slice(0, 60)}`)
    })
  }
  const outputs = files
    ? await Promise.all(inputs.map((path) => classify(client, model, path, most)))
    : await client.predictAll(model, inputs, most)
  if (out.json)
    return out.document(
      outputs.map((ranked) => (topK !== undefined || ranked[0]?.chosen !== undefined ? ranked : ranked[0])),
    )
  const show = (ranked: Ranked[]) => ranked.map(({ label, score }) => `${label} ${score.toFixed(4)}`).join('  ')
  outputs.forEach((ranked, i) => {
    // of several labels those that are given, unless so many were asked for
    const several = topK === undefined && ranked.some(({ chosen }) => chosen !== undefined)
    const line = several ? show(ranked.filter(({ chosen }) => chosen)) || 'none' : show(ranked.slice(0, topK ?? 3))
    out.data(inputs.length === 1 ? line : `${line}\t${inputs[i].slice(0, 60)}`)
  })
}

/** How the answers of encoders are shown, by task; as JSON they are told in full. */
const shown: Record<string, ((output: never) => string[]) | undefined> = {
  'feature-extraction': (vector: number[]) => [
    `${vector
      .slice(0, 4)
      .map((value) => value.toFixed(4))
      .join(' ')} … (${vector.length})`,
  ],
  'fill-mask': (masks: { token: string; score: number }[][]) =>
    masks.map((words) => words.map(({ token, score }) => `${token} ${score.toFixed(4)}`).join('  ')),
  'token-classification': (entities: { label: string; score: number; text: string }[]) => [
    entities.map(({ label, score, text }) => `${text} ${label} ${score.toFixed(4)}`).join('  ') || '-',
  ],
}

async function classify(client: Athanor, model: string, path: string, options: { topK?: number }) {
  return client.classifyImage(model, await readFile(path), options)
}

async function standardInput(): Promise<string[]> {
  if (process.stdin.isTTY) return []
  let text = ''
  for await (const piece of process.stdin.setEncoding('utf8')) text += piece
  return text.split('\n').filter((line) => line.trim() !== '')
}

/** Measures a version on a file. */
export async function evaluate(context: Context, model: string, source: string, options: ReadingOptions) {
  const { client, out } = context
  const result = await client.evaluate(model, await upload(source, context), readingOf(options).read)
  if (out.json) return out.document(result)
  const { metrics, rows, perLabel } = result
  out.data(`${result.model}@${result.version} on ${basename(source)}: ${figures(metrics)}, ${rows} rows`)
  if (perLabel.length === 0) return
  out.table(
    ['LABEL', 'PRECISION', 'RECALL', 'F1', 'ROWS'],
    perLabel.map((one) => [
      one.label,
      one.precision.toFixed(4),
      one.recall.toFixed(4),
      one.f1.toFixed(4),
      String(one.rows),
    ]),
  )
}
