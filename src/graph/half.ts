/** Half (IEEE 754 binary16) and bfloat16 numbers are held as their bits; here they become float32 and come back. */

const scratch = new Float32Array(1)
const bits = new Uint32Array(scratch.buffer)

/** The float32 bits of every half: sign, exponent and fraction spread; subnormals scaled. */
const halves = (() => {
  let table: Float32Array | undefined
  return () => {
    table ??= Float32Array.from({ length: 65_536 }, (_, half) => {
      const sign = half & 0x8000 ? -1 : 1
      const exponent = (half >> 10) & 31
      const fraction = half & 1023
      if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
      return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
    })
    return table
  }
})()

export function fromHalf(values: Uint16Array): Float32Array {
  const table = halves()
  return Float32Array.from(values, (half) => table[half])
}

/** Rounds to the nearest, ties to even; what is too large becomes infinity. */
export function toHalf(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(values, (value) => {
    scratch[0] = value
    const sign = (bits[0] >>> 16) & 0x8000
    const magnitude = bits[0] & 0x7fffffff
    if (magnitude > 0x7f800000) return sign | 0x7e00
    if (magnitude >= 0x477ff000) return sign | 0x7c00 // 65520 and above
    if (magnitude < 0x38800000) return sign | nearestEven(Math.abs(scratch[0]) * 2 ** 24) // below 2^-14: subnormal
    // bias 127 → 15; a carry of the fraction moves on to the exponent
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  })
}

export function fromBfloat(values: Uint16Array): Float32Array {
  const result = new Float32Array(values.length)
  const words = new Uint32Array(result.buffer)
  for (let i = 0; i < values.length; i++) words[i] = values[i] << 16
  return result
}

/** Rounds to the nearest, ties to even. */
export function toBfloat(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(values, (value) => {
    scratch[0] = value
    if (Number.isNaN(value)) return (bits[0] >>> 16) | 0x40
    return (bits[0] + 0x7fff + ((bits[0] >>> 16) & 1)) >>> 16
  })
}

function nearestEven(value: number): number {
  const low = Math.floor(value)
  const rest = value - low
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low
}
