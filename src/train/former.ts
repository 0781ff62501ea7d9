import { readFileSync } from 'node:fs'
import { fail } from '../base/errors.ts'
import { TextPipeline } from '../data/pipeline.ts'
import { knownFamily } from '../formats/known-family.ts'
import { readModel } from '../graph/codec.ts'
import type { TaskContext } from './learner.ts'
import { problemOf } from './problem.ts'
import type { Learning } from './tasks/text-classification.ts'

/**
 * The pipeline, labels and weights of a text classifier of our own families that a run goes on from; nothing if it starts
 * anew or from a published encoder. Throws UNSUPPORTED for versions whose graph is no longer the family's, and for numbers.
 */
export function formerOf({ job: { from, spec }, name }: TaskContext): Learning {
  if (!from?.manifest || name === 'encoder') return {}
  const { ref, manifest, files } = from
  const refuse = (why: string) =>
    fail('UNSUPPORTED', { what: `training ${ref} further`, instead: `${why} Train a new model instead.` })
  const { problem = 'classification', labels } = manifest
  if (problem !== problemOf(spec)) throw refuse(`It learnt ${problem}, not ${problemOf(spec)}.`)
  if (problem === 'regression') throw refuse('The scale of its numbers would no longer be that of the data.')
  const { weights } = knownFamily(readModel(readFileSync(files['model.onnx'])), manifest, refuse)
  const config = manifest.pipeline as unknown as TextPipeline['config']
  return {
    known: { pipeline: TextPipeline.load(config, readFileSync(files['tokenizer.json'], 'utf8')), labels },
    initial: Object.fromEntries(
      [...weights].map(([path, { dims, data }]) => [path, { dims, data: data as Float32Array }]),
    ),
  }
}
