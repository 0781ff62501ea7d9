import type { Dataset, File, Group } from 'h5wasm'
import { elements, fromNumbers, type Tensor } from '../../graph/tensor.ts'

import { invalid } from '../source.ts'

/** What is read of an HDF5 file: groups, their attributes, and dense float or integer arrays. */
export interface Hdf5 {
  keys(path: string): string[]
  has(path: string): boolean
  /** Text, or a list of texts; undefined when there is no such attribute. */
  attribute(path: string, name: string): string | string[] | undefined
  tensor(path: string): Tensor
}

const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]
const isHdf5 = (bytes: Uint8Array) => SIGNATURE.every((byte, i) => bytes[i] === byte)

/** Compressed arrays may be larger than the file, but not without end. */
const RATIO_LIMIT = 8
const RANK_LIMIT = 8
const KEY_LIMIT = 100_000

/** HDF5's own library, in WebAssembly; files live in its memory, it sees no disk. */
const library = async () => {
  const h5wasm = (await import('h5wasm')).default
  return { ...h5wasm, files: (await h5wasm.ready).FS }
}

/**
 * Opens a file for `use` and closes it after. Arrays are bounded by what the file's size allows, links to other files are
 * refused, names lead nowhere but into the file. Throws FORMAT_INVALID.
 */
export async function withHdf5<T>(bytes: Uint8Array, use: (file: Hdf5) => Promise<T> | T): Promise<T> {
  if (!isHdf5(bytes)) throw invalid('Keras', 'not an HDF5 file')
  const { File: Opened, files } = await library()
  const name = 'model.h5'
  files.writeFile(name, bytes)
  let file: File | undefined
  try {
    try {
      file = new Opened(name, 'r')
    } catch (error) {
      throw invalid('Keras', 'the HDF5 file cannot be opened', error)
    }
    return await use(reader(file, bytes.byteLength))
  } finally {
    try {
      file?.close()
    } finally {
      files.unlink(name)
    }
  }
}

const isKind = (found: object | null, kind: string) => found !== null && 'type' in found && found.type === kind

function reader(file: File, size: number): Hdf5 {
  let budget = Math.max(1 << 20, size * RATIO_LIMIT)
  const guard = <R>(what: string, read: () => R): R => {
    try {
      return read()
    } catch (error) {
      throw error instanceof Error && error.name === 'AthanorError'
        ? error
        : invalid('Keras', `${what} cannot be read`, error)
    }
  }
  const find = (path: string) => guard(path, () => (path === '' ? file : file.get(path)))
  const group = (path: string): Group => {
    const found = find(path)
    if (!isKind(found, 'Group')) throw invalid('Keras', `no group "${path.slice(0, 120)}" in the HDF5 file`)
    return found as Group
  }
  return {
    keys: (path) => {
      const keys = guard(path, () => group(path).keys())
      if (keys.length > KEY_LIMIT) throw invalid('Keras', 'too many entries in a group')
      return keys
    },
    has: (path) => find(path) !== null,
    attribute: (path, name) => {
      const attrs = guard(path, () => group(path).attrs)
      if (!Object.hasOwn(attrs, name)) return undefined
      const value = guard(name, () => attrs[name].value)
      if (typeof value === 'string') return value
      if (value instanceof Uint8Array) return new TextDecoder().decode(value)
      if (Array.isArray(value)) return value.map(String)
      return undefined
    },
    tensor: (path) => {
      const found = find(path)
      if (!isKind(found, 'Dataset')) throw invalid('Keras', `no array "${path.slice(0, 120)}" in the HDF5 file`)
      const dataset = found as Dataset
      const { shape, size: width, type, vlen } = guard(path, () => dataset.metadata)
      const dims = (shape ?? []).map(Number)
      if (vlen || (type !== 0 && type !== 1) || dims.length > RANK_LIMIT)
        throw invalid('Keras', `"${path.slice(0, 120)}" is not an array of numbers`)
      budget -= elements(dims) * width
      if (budget < 0) throw invalid('Keras', 'arrays that claim far more than the file holds')
      const value = guard(path, () => dataset.value)
      const data = typeof value === 'number' ? [value] : value
      if (data instanceof Float32Array) return { dtype: 'float32', dims, data }
      if (data instanceof Int32Array) return { dtype: 'int32', dims, data }
      if (data instanceof BigInt64Array) return { dtype: 'int64', dims, data }
      if (!data || typeof data !== 'object' || !('length' in data))
        throw invalid('Keras', `"${path.slice(0, 120)}" is not an array of numbers`)
      return fromNumbers('float32', dims, Array.from(data as ArrayLike<number>, Number))
    },
  }
}

/** A group to be written: attributes, arrays and groups by name. */
export interface Hdf5Group {
  attributes?: Record<string, string | string[]>
  arrays?: Record<string, Tensor>
  groups?: Record<string, Hdf5Group>
}

/** The bytes of an HDF5 file with the given content. */
export async function writeHdf5(root: Hdf5Group): Promise<Uint8Array> {
  const { File: Opened, files } = await library()
  const name = 'written.h5'
  const file = new Opened(name, 'w')
  try {
    const write = (at: Group, { attributes = {}, arrays = {}, groups = {} }: Hdf5Group) => {
      for (const [key, value] of Object.entries(attributes)) at.create_attribute(key, value)
      for (const [key, { dims, data }] of Object.entries(arrays))
        at.create_dataset({ name: key, data: data as Float32Array, shape: [...dims], dtype: '<f4' })
      for (const [key, inner] of Object.entries(groups)) write(at.create_group(key), inner)
    }
    write(file, root)
  } finally {
    file.close()
  }
  const bytes = files.readFile(name)
  files.unlink(name)
  return bytes
}
