import { openSession } from '../engine/session.ts'
import { writeModel } from '../graph/codec.ts'
import { Edit } from '../graph/edit.ts'
import { layerStates } from '../nn/states.ts'
import type { Weights } from '../train/checkpoint.ts'
import { feedsOf, ortFeeds, pipelineOf } from './inputs.ts'
import { narrowed } from './narrow.ts'
import type { Subject } from './subject.ts'
import { telling, vectorsOf } from './teacher.ts'

/** Numbers of a table are brought to this size on the average, so that training moves them without overwriting them. */
const SIZE = 0.4
/** Larger vocabularies are not read token by token. */
const MOST = 100_000
const AT_ONCE = 4096

/** A number of values for each token: (vocabulary, width). */
interface Table {
  readonly data: Float32Array
  readonly width: number
}

/**
 * What a teacher knows of each token, float32 (vocabulary, width), for a student to begin with: its table of tokens and what it
 * makes of each token that it reads alone, brought to `width` along the directions that keep most of them. A word that no
 * text taught says the same to both then. Undefined where the teacher stores no such table, or knows fewer numbers.
 */
export async function tokenTable(
  subject: Subject,
  width: number,
  threads: number,
): Promise<Weights[string] | undefined> {
  const rows = pipelineOf(subject).vocabularySize
  const stored = storedTable(subject, rows)
  if (!stored) return undefined
  const tables = [stored, ...(await readAlone(subject, rows, threads))]
  if (tables.reduce((sum, table) => sum + table.width, 0) < width) return undefined
  const all = sideBySide(tables, rows)
  const data = narrowed(all, all.length / rows, width)
  return { dims: [rows, width], data: ofSize(data, SIZE) }
}

/** The table that a graph looks ids up in; our own families read them turned or with padding. */
function storedTable({ model }: Subject, rows: number): Table | undefined {
  const edit = new Edit(model)
  const ids = new Set(['ids', 'input_ids'])
  const gather = edit.nodes.find(
    ({ opType, input: [table, at] }) => opType === 'Gather' && (ids.has(at) || table === 'embedding/weight'),
  )
  const tensor = gather && edit.dims(gather.input[0])?.length === 2 ? edit.tensor(gather.input[0]) : undefined
  if (tensor?.dtype !== 'float32' || tensor.dims[0] !== rows) return undefined
  return { data: tensor.data as Float32Array, width: tensor.dims[1] }
}

/** Of each token read alone: its state after a Transformer's last layer, and the vector that its answer is made of. */
export async function readAlone(subject: Subject, rows: number, threads: number): Promise<Table[]> {
  const { model, manifest } = subject
  const [state, vector] = [layerStates(model.graph!.node).at(-1), vectorsOf(model)]
  if (state === undefined || vector === undefined || rows > MOST) return []
  const pipeline = pipelineOf(subject)
  const around = pipeline.config.tokenizer === 'published' ? [...(await pipeline.encode(['']))[0]] : []
  const place = around.length >> 1
  const session = await openSession(writeModel(telling(model, [state, vector])), threads)
  const found: { data: Float32Array; width: number }[] = []
  const keep = (table: number, token: number, width: number, values: Float32Array) => {
    found[table] ??= { data: new Float32Array(rows * width), width }
    found[table].data.set(values, token * width)
  }
  try {
    for (let first = 0; first < rows; first += AT_ONCE) {
      const tokens = Array.from({ length: Math.min(AT_ONCE, rows - first) }, (_, i) => first + i)
      const texts = tokens.map((token) => Int32Array.from([...around.slice(0, place), token, ...around.slice(place)]))
      for (const feeds of feedsOf(manifest, texts)) {
        const results = await session.run(ortFeeds(feeds), [state, vector])
        const [states, vectors] = [results[state], results[vector]]
        const [, time, width] = states.dims
        const rest = vectors.dims[1]
        feeds.rows.forEach((row, r) => {
          const at = (r * time + place) * width
          keep(0, tokens[row], width, (states.data as Float32Array).subarray(at, at + width))
          keep(1, tokens[row], rest, (vectors.data as Float32Array).subarray(r * rest, (r + 1) * rest))
        })
      }
    }
  } finally {
    await session.release()
  }
  return found
}

/** Tables as one, each less the mean of its rows and with numbers of the same size, so that none outweighs the others. */
function sideBySide(tables: readonly Table[], rows: number): Float32Array {
  const width = tables.reduce((sum, table) => sum + table.width, 0)
  const all = new Float32Array(rows * width)
  let start = 0
  for (const table of tables) {
    const data = ofSize(centred(table, rows), 1)
    for (let row = 0; row < rows; row++)
      all.set(data.subarray(row * table.width, (row + 1) * table.width), row * width + start)
    start += table.width
  }
  return all
}

function centred({ data, width }: Table, rows: number): Float32Array {
  const mean = new Float64Array(width)
  for (let i = 0; i < data.length; i++) mean[i % width] += data[i] / rows
  return data.map((value, i) => value - mean[i % width])
}

/** Numbers scaled so that their squares are `size`² on the average. */
function ofSize(data: Float32Array, size: number): Float32Array {
  const now = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length)
  return now > 0 ? data.map((value) => (value * size) / now) : data
}
