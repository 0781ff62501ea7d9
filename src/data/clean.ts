import { hash } from 'node:crypto'
import { roomFor } from './keys.ts'
import { bareText } from './text.ts'

/** Why a row was left out. */
export type Reason = 'empty' | 'unlabelled' | 'duplicate' | 'nearDuplicate' | 'conflictingLabel' | 'leakage'

export interface Removals {
  counts: Record<Reason, number>
  /** Up to three rows a reason, of each only its beginning. */
  examples: Partial<Record<Reason, { line: number; text: string }[]>>
}

export const noRemovals = (): Removals => ({
  counts: { empty: 0, unlabelled: 0, duplicate: 0, nearDuplicate: 0, conflictingLabel: 0, leakage: 0 },
  examples: {},
})

export function recordRemoval(removals: Removals, reason: Reason, line: number, text: string) {
  removals.counts[reason]++
  const examples = removals.examples[reason] ?? []
  removals.examples[reason] = examples
  if (examples.length < 3) examples.push({ line, text: beginning(text) })
}

/** At most a third of a text, and no more than 24 characters: enough to find the row, too little to give it away. */
function beginning(text: string): string {
  const characters = Array.from(text.trim())
  if (characters.length === 0) return ''
  return `${characters.slice(0, Math.min(24, Math.floor(characters.length / 3))).join('')}…`
}

/** 64 bits that are equal for texts that differ only in case, width, punctuation and blanks. */
export const contentKey = (text: string): bigint => keyOf(bareText(text) || text)

/** 64 bits that stand for a string. */
export const keyOf = (text: string): bigint => hash('sha1', text, 'buffer').readBigUInt64LE()

const HASHES = 64
const BANDS = 16
const SHINGLE = 5
/** Texts shorter than this have too few shingles to compare; they are only checked for equality. */
const SHORTEST = 24
/** Rows whose signatures are kept; beyond it near duplicates are no longer looked for. */
const NEAR_LIMIT = 300_000
const THRESHOLD = 0.9
/** Slots for the keys of a band. */
const SLOTS = 2 ** 19
/** Texts that may share a key of a band: a boilerplate opening must not make this quadratic. */
const CROWD = 32

/**
 * Finds texts nearly equal to one seen before: MinHash signatures of five-character shingles (Broder 1997) in bands of
 * locality-sensitive hashing, compared where a band meets; estimated Jaccard similarity of at least 0.9.
 */
export class NearDuplicates {
  /** Signatures one after another, and which row each is of. */
  #signatures = new Uint32Array(0)
  #owners = new Uint32Array(0)
  #length = 0
  /** Of each band, by key: the signature that was added last, counted from 1, and for each signature the one before it. */
  readonly #last = Array.from({ length: BANDS }, () => new Uint32Array(SLOTS))
  #before = new Uint32Array(0)

  get full(): boolean {
    return this.#length >= NEAR_LIMIT
  }

  /** The owner of a text nearly equal to this one, if there is one; otherwise remembers the text under `owner`. */
  findOrAdd(text: string, owner: number): number | undefined {
    const bare = bareText(text)
    if (bare.length < SHORTEST || this.full) return undefined
    const signature = minHash(bare)
    const crowded: boolean[] = []
    for (let band = 0; band < BANDS; band++) {
      const key = bandKey(signature, band)
      let met = 0
      for (let one = this.#last[band][key & (SLOTS - 1)]; one > 0; one = this.#before[(one - 1) * BANDS + band]) {
        const other = this.#signatures.subarray((one - 1) * HASHES, one * HASHES)
        if (bandKey(other, band) !== key) continue
        met++
        if (similarity(signature, other) >= THRESHOLD) return this.#owners[one - 1]
      }
      crowded[band] = met >= CROWD
    }
    this.#add(signature, owner, crowded)
    return undefined
  }

  #add(signature: Uint32Array, owner: number, crowded: readonly boolean[]) {
    const at = this.#length++
    this.#signatures = roomFor(this.#signatures, this.#length * HASHES)
    this.#owners = roomFor(this.#owners, this.#length)
    this.#before = roomFor(this.#before, this.#length * BANDS)
    this.#signatures.set(signature, at * HASHES)
    this.#owners[at] = owner
    for (let band = 0; band < BANDS; band++) {
      if (crowded[band]) continue
      const slot = bandKey(signature, band) & (SLOTS - 1)
      this.#before[at * BANDS + band] = this.#last[band][slot]
      this.#last[band][slot] = at + 1
    }
  }
}

const factors = Uint32Array.from({ length: HASHES }, (_, i) => Math.imul(i + 1, 0x9e3779b1) | 1)

function minHash(text: string): Uint32Array {
  const signature = new Uint32Array(HASHES).fill(0xffffffff)
  const length = Math.min(text.length, 4096) // the beginning of a long text stands for it
  for (let start = 0; start + SHINGLE <= length; start++) {
    let hash = 0x811c9dc5
    for (let i = 0; i < SHINGLE; i++) hash = Math.imul(hash ^ text.charCodeAt(start + i), 0x01000193)
    hash ^= hash >>> 15
    for (let i = 0; i < HASHES; i++) {
      const value = (Math.imul(hash, factors[i]) ^ (hash >>> (i & 15))) >>> 0
      if (value < signature[i]) signature[i] = value
    }
  }
  return signature
}

function bandKey(signature: Uint32Array, band: number): number {
  let key = band
  const width = HASHES / BANDS
  for (let i = 0; i < width; i++) key = Math.imul(key ^ signature[band * width + i], 0x85ebca6b)
  return key
}

function similarity(a: Uint32Array, b: Uint32Array): number {
  let equal = 0
  for (let i = 0; i < HASHES; i++) if (a[i] === b[i]) equal++
  return equal / HASHES
}
