import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { readSafetensors, safetensorsPieces } from '../formats/safetensors.ts'
import { assertRoom } from '../store/home.ts'

/** Named float32 tensors, as the training session holds them. */
export type Weights = Record<string, { dims: readonly number[]; data: Float32Array }>

/**
 * Writes weights and a JSON state (under `state` in the metadata) as one safetensors file. The file appears whole or not
 * at all: written beside its place, flushed, renamed, and the folder flushed. Throws DISK_FULL.
 */
export function writeCheckpoint(path: string, weights: Weights, state: unknown) {
  const tensors = Object.entries(weights).map(
    ([name, { dims, data }]) => [name, { dtype: 'float32', dims, data }] as const,
  )
  const pieces = safetensorsPieces(tensors, { state: JSON.stringify(state) })
  assertRoom(
    dirname(path),
    pieces.reduce((sum, { byteLength }) => sum + byteLength, 0),
  )
  const partial = `${path}.partial`
  try {
    const file = openSync(partial, 'w')
    try {
      for (const bytes of pieces)
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
  const { tensors, metadata } = readSafetensors(bytes)
  const weights: Weights = {}
  for (const [name, { dims, data }] of tensors) weights[name] = { dims, data: data as Float32Array }
  return { weights, state: JSON.parse(metadata.state) as State }
}
