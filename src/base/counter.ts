/**
 * Counter-based random numbers: the n-th number of a stream depends on (seed, stream, n) alone, so that a resumed run
 * draws what an uninterrupted one would have. The mixing is MurmurHash3's finalizer.
 */
export function uniformAt(seed: number, stream: number, index: number): number {
  return mix(mix(mix(seed ^ 0x9e3779b9) ^ stream) ^ index) / 4294967296
}

/** A standard normal number by Box–Muller, from two numbers of the stream. */
export function normalAt(seed: number, stream: number, index: number): number {
  const radius = Math.sqrt(-2 * Math.log(1 - uniformAt(seed, stream, 2 * index)))
  return radius * Math.cos(2 * Math.PI * uniformAt(seed, stream, 2 * index + 1))
}

/** A 32-bit stream number from a name. */
export function streamOf(name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

function mix(value: number): number {
  let h = value | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
