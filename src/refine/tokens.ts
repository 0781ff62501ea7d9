import { Edit } from '../graph/edit.ts'
import { pipelineOf } from './inputs.ts'
import { narrowed } from './narrow.ts'
import type { Subject } from './subject.ts'

/**
 * The vectors of tokens that a version begins with, float32 (vocabulary, width), in fewer numbers where it has more; undefined
 * where it stores none such, or narrower ones.
 */
export function tokenTable(subject: Subject, width: number): { dims: number[]; data: Float32Array } | undefined {
  const edit = new Edit(subject.model)
  const ids = new Set(['ids', 'input_ids'])
  // our own families look ids up turned or with padding
  const gather = edit.nodes.find(
    ({ opType, input: [table, at] }) => opType === 'Gather' && (ids.has(at) || table === 'embedding/weight'),
  )
  const tensor = gather && edit.dims(gather.input[0])?.length === 2 ? edit.tensor(gather.input[0]) : undefined
  if (tensor?.dtype !== 'float32' || tensor.dims[0] !== pipelineOf(subject).vocabularySize) return undefined
  const [rows, known] = tensor.dims
  if (known < width) return undefined
  const data = tensor.data as Float32Array
  return { dims: [rows, width], data: known === width ? data : narrowed(data, known, width) }
}
