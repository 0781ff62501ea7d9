/** A column with room for `length` elements: itself, or one half as large again with the same beginning. */
export function roomFor<Column extends Float64Array | Int32Array | Uint32Array | Uint8Array>(
  column: Column,
  length: number,
): Column {
  if (length <= column.length) return column
  const larger = new (column.constructor as new (length: number) => Column)(Math.ceil(1.5 * length) + 1024)
  larger.set(column)
  return larger
}

/** Slots that may be taken of all before there are twice as many. */
const LOAD = 0.7

/**
 * Row numbers by keys of 64 bits: open addressing in typed arrays, 12 bytes a slot, since a Map takes several times as much and
 * ends at 2^24 keys.
 */
export class RowKeys {
  #keys = new BigUint64Array(1024)
  /** Row numbers plus one; 0 where nothing is. */
  #rows = new Uint32Array(1024)
  #size = 0

  get(key: bigint): number | undefined {
    const row = this.#rows[this.#slot(key)]
    return row === 0 ? undefined : row - 1
  }

  /** Remembers `row` under a key that is not there yet. */
  add(key: bigint, row: number) {
    if (this.#size >= LOAD * this.#rows.length) this.#grow()
    this.#put(key, row + 1)
    this.#size++
  }

  /** Where a key is, or would be. */
  #slot(key: bigint): number {
    const last = this.#rows.length - 1
    let slot = Number(key & 0xffff_ffffn) & last
    while (this.#rows[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & last
    return slot
  }

  #put(key: bigint, row: number) {
    const slot = this.#slot(key)
    this.#keys[slot] = key
    this.#rows[slot] = row
  }

  #grow() {
    const [keys, rows] = [this.#keys, this.#rows]
    this.#keys = new BigUint64Array(2 * keys.length)
    this.#rows = new Uint32Array(2 * rows.length)
    for (let i = 0; i < rows.length; i++) if (rows[i] !== 0) this.#put(keys[i], rows[i])
  }
}
