// The thread in which HDF5's own library, in WebAssembly, reads files; whoever started it ends it when it does not end.
import { parentPort } from 'node:worker_threads'
import h5wasm, { type Dataset, type File, type Group } from 'h5wasm'
import { elements, fromNumbers, type Tensor } from '../../graph/tensor.ts'

/** All of a file that Keras' formats use, by paths without a first slash ('' is the root). */
export interface Hdf5Content {
  /** Attributes of texts by group; an error where one cannot be read. */
  groups: Map<string, Map<string, string | string[] | Error>>
  arrays: Map<string, Tensor>
  /** Why something that is there cannot be read. */
  failures: Map<string, string>
}

export type FromHdf5 =
  | { type: 'done'; content: Hdf5Content }
  | { type: 'failed'; reason: string /** Whether the thread is of no more use. */; dead: boolean }

/** Compressed arrays may be larger than the file, but not without end. */
const RATIO_LIMIT = 8
const SMALL = 1 << 20
const RANK_LIMIT = 8
const ENTRY_LIMIT = 100_000
const DEPTH_LIMIT = 32

const native = await h5wasm.ready
native.activate_throwing_error_handler() // its own handler prints to standard error
parentPort!.on('message', (bytes: Uint8Array) => {
  const answer = read(bytes)
  const moved =
    answer.type === 'done'
      ? [...answer.content.arrays.values()].flatMap(({ data }) => ('buffer' in data ? [data.buffer] : []))
      : []
  parentPort!.postMessage(answer, [...new Set(moved)] as ArrayBuffer[])
})
parentPort!.postMessage('ready')

function read(bytes: Uint8Array): FromHdf5 {
  const name = 'model.h5'
  native.FS.writeFile(name, bytes)
  let file: File | undefined
  try {
    file = new h5wasm.File(name, 'r')
  } catch {
    native.FS.unlink(name)
    return { type: 'failed', reason: 'the HDF5 file cannot be opened', dead: false }
  }
  try {
    return { type: 'done', content: contentOf(file, bytes.byteLength) }
  } catch (error) {
    const refused = error instanceof Refused
    return { type: 'failed', reason: refused ? error.message : 'the HDF5 file cannot be read', dead: !refused }
  } finally {
    try {
      file.close()
    } finally {
      native.FS.unlink(name)
    }
  }
}

class Refused extends Error {}

function contentOf(file: File, size: number): Hdf5Content {
  let budget = Math.max(SMALL, size * RATIO_LIMIT)
  let entries = 0
  const groups: Hdf5Content['groups'] = new Map()
  const arrays: Hdf5Content['arrays'] = new Map()
  const failures: Hdf5Content['failures'] = new Map()
  const spend = (values: number, width: number) => {
    budget -= values * width
    if (!(budget >= 0)) throw new Refused('arrays that claim far more than the file holds')
  }

  const attributesOf = (group: Group) => {
    const attributes = new Map<string, string | string[] | Error>()
    for (const name of Object.keys(group.attrs)) {
      try {
        const attribute = group.attrs[name]
        const { shape, size: width, type } = attribute.metadata
        if (type !== STRING && type !== LISTS) continue
        spend(elements((shape ?? []).map(Number)), width)
        const text = textsOf(attribute.value)
        if (text !== undefined) attributes.set(name, text)
      } catch (error) {
        if (error instanceof Refused) throw error
        attributes.set(name, new Error('unreadable'))
      }
    }
    return attributes
  }

  const walk = (group: Group, path: string, depth: number) => {
    if (depth > DEPTH_LIMIT) throw new Refused(`groups nested deeper than ${DEPTH_LIMIT}`)
    groups.set(path, attributesOf(group))
    for (const key of group.keys()) {
      if (++entries > ENTRY_LIMIT) throw new Refused('too many entries')
      const at = path === '' ? key : `${path}/${key}`
      if (UNREAD.has(at)) continue
      try {
        const found = group.get(key)
        if (found && 'type' in found && found.type === 'Group') walk(found as Group, at, depth + 1)
        else if (found && 'type' in found && found.type === 'Dataset') arrays.set(at, tensorOf(found as Dataset, spend))
        else failures.set(at, `"${at.slice(0, 120)}" is neither a group nor an array`)
      } catch (error) {
        if (error instanceof Refused) throw error
        failures.set(at, `"${at.slice(0, 120)}" cannot be read as numbers`)
      }
    }
  }
  walk(file, '', 0)
  return { groups, arrays, failures }
}

/** HDF5's classes of types. */
const [INTEGER, FLOAT, STRING, LISTS] = [0, 1, 3, 9]
/** The state of an optimizer is no part of a model. */
const UNREAD = new Set(['optimizer_weights', 'optimizer'])

function textsOf(value: unknown): string | string[] | undefined {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return new TextDecoder().decode(value)
  return Array.isArray(value) ? value.map(String) : undefined
}

/** The numbers of an array; throws when it holds something else. */
function tensorOf(dataset: Dataset, spend: (values: number, width: number) => void): Tensor {
  const { shape, size: width, type, vlen } = dataset.metadata
  const dims = (shape ?? []).map(Number)
  if (vlen || (type !== INTEGER && type !== FLOAT) || dims.length > RANK_LIMIT) throw new Error('not numbers')
  spend(elements(dims), width)
  const value = dataset.value
  const data = typeof value === 'number' ? [value] : value
  if (data instanceof Float32Array) return { dtype: 'float32', dims, data }
  if (data instanceof Int32Array) return { dtype: 'int32', dims, data }
  if (data instanceof BigInt64Array) return { dtype: 'int64', dims, data }
  if (!data || typeof data !== 'object' || !('length' in data)) throw new Error('not numbers')
  return fromNumbers('float32', dims, Array.from(data as ArrayLike<number>, Number))
}
