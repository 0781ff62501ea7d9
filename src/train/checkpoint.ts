import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { assertRoom } from '../store/home.ts'

/** Named float32 tensors, as the training session holds them. */
export type Weights = Record<string, { dims: readonly number[]; data: Float32Array }>

/**
 * Writes weights and a JSON state as one safetensors file (little-endian, header of JSON, state under `__metadata__`).
 * The file appears whole or not at all: written beside its place, flushed, renamed, and the folder flushed. Throws
 * DISK_FULL.
 */
export function writeCheckpoint(path: string, weights: Weights, state: unknown) {
  const header: Record<string, unknown> = { __metadata__: { state: JSON.stringify(state) } }
  let offset = 0
  for (const [name, { dims, data }] of Object.entries(weights)) {
    header[name] = { dtype: 'F32', shape: dims, data_offsets: [offset, offset + data.byteLength] }
    offset += data.byteLength
  }
  const json = JSON.stringify(header)
  const text = Buffer.from(json + ' '.repeat((8 - (Buffer.byteLength(json) % 8)) % 8)) // tensors start on 8 bytes
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.byteLength))

  const all = [length, text, ...Object.values(weights).map(({ data }) => asBytes(data))]
  assertRoom(dirname(path), offset)
  const partial = `${path}.partial`
  try {
    const file = openSync(partial, 'w')
    try {
      for (const bytes of all)
        for (let written = 0; written < bytes.byteLength; ) written += writeSync(file, bytes, written)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(partial, path)
  } catch (error) {
    rmSync(partial, { force: true })
    throw error
  }
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
}

/** Reads what `writeCheckpoint` wrote; undefined when there is no such file. */
export function readCheckpoint<State>(path: string): { weights: Weights; state: State } | undefined {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const { __metadata__, ...tensors } = JSON.parse(bytes.toString('utf8', 8, start)) as {
    __metadata__: { state: string }
    [name: string]: unknown
  }
  const weights: Weights = {}
  for (const [name, entry] of Object.entries(tensors)) {
    const { shape, data_offsets } = entry as { shape: number[]; data_offsets: [number, number] }
    const data = new Float32Array((data_offsets[1] - data_offsets[0]) / 4)
    asBytes(data).set(bytes.subarray(start + data_offsets[0], start + data_offsets[1]))
    weights[name] = { dims: shape, data }
  }
  return { weights, state: JSON.parse(__metadata__.state) as State }
}

const asBytes = (data: Float32Array) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
