import { Worker } from 'node:worker_threads'
import type { Tensor } from '../../graph/tensor.ts'
import { invalid } from '../source.ts'
import type { FromHdf5, Hdf5Content } from './thread.ts'

/** What is read of an HDF5 file: groups, their attributes, and dense float or integer arrays. */
export interface Hdf5 {
  has(path: string): boolean
  /** Text, or a list of texts; undefined when there is no such attribute. */
  attribute(path: string, name: string): string | string[] | undefined
  tensor(path: string): Tensor
}

const SIGNATURE = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]
const isHdf5 = (bytes: Uint8Array) => SIGNATURE.every((byte, i) => bytes[i] === byte)

/** Microseconds of processor time for a small file, and bytes of a large one for each microsecond more. */
const TIME = 1_000_000
const BYTES_A_MICROSECOND = 20
/** Milliseconds between two looks at the time taken. */
const LOOK = 20

let thread: Promise<Worker> | undefined

/** The thread that holds HDF5's library; a new one after one that was ended. */
const started = () => {
  thread ??= new Promise((resolve, reject) => {
    const file = import.meta.url.endsWith('.ts') ? './thread.ts' : './thread.js'
    const worker = new Worker(new URL(file, import.meta.url))
    worker.once('message', () => resolve(worker))
    worker.once('error', reject)
  })
  return thread
}

/**
 * Reads a file whole. HDF5's own library runs in a thread that is ended when it takes too long: there are files on which it
 * never ends. Arrays are bounded by what the file's size allows, links to other files lead nowhere. Throws FORMAT_INVALID.
 */
export async function readHdf5(bytes: Uint8Array): Promise<Hdf5> {
  if (!isHdf5(bytes)) throw invalid('Keras', 'not an HDF5 file')
  const worker = await started()
  worker.ref()
  // processor time, not time: one that has to wait for its share of the machine takes no longer by it
  const began = process.cpuUsage()
  const limit = TIME + bytes.byteLength / BYTES_A_MICROSECOND
  const look = () => {
    const { user, system } = process.cpuUsage(began)
    if (user + system > limit) late()
  }
  const { promise, resolve } = Promise.withResolvers<FromHdf5>()
  const dead = (reason: string) => () => resolve({ type: 'failed', reason, dead: true })
  const [late, died] = ['the HDF5 file takes too long to read', 'the HDF5 file cannot be read'].map(dead)
  const clock = setInterval(look, LOOK)
  worker.once('message', resolve).once('error', died).postMessage(bytes)
  const answer = await promise
  clearInterval(clock)
  worker.off('error', died).unref()
  if (answer.type === 'done') return reader(answer.content)
  if (answer.dead) {
    thread = undefined
    await worker.terminate()
  }
  throw invalid('Keras', answer.reason)
}

function reader({ groups, arrays, failures }: Hdf5Content): Hdf5 {
  const plain = (path: string) => path.split('/').filter(Boolean).join('/')
  const missing = (kind: string, path: string) =>
    invalid('Keras', failures.get(plain(path)) ?? `no ${kind} "${path.slice(0, 120)}" in the HDF5 file`)
  return {
    has: (path) => groups.has(plain(path)) || arrays.has(plain(path)) || failures.has(plain(path)),
    attribute(path, name) {
      const attributes = groups.get(plain(path))
      if (!attributes) throw missing('group', path)
      const value = attributes.get(name)
      if (value instanceof Error) throw invalid('Keras', `${name} cannot be read`, value)
      return value
    },
    tensor(path) {
      const array = arrays.get(plain(path))
      if (!array) throw missing('array', path)
      return array
    },
  }
}
