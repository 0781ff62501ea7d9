import { fail } from '../../base/errors.ts'

/** Samples a second that speech models of the hub are made for. */
const RATE = 16_000
/** Longest recording, in seconds. */
const LONGEST = 600

const invalid = (reason: string) => fail('BAD_REQUEST', { message: `audio: ${reason}` })

/** Readers of one sample, to -1…1, by format (1 integers, 3 floats) and bits. */
const readers: Record<string, (view: DataView, at: number) => number> = {
  '1/8': (view, at) => (view.getUint8(at) - 128) / 128,
  '1/16': (view, at) => view.getInt16(at, true) / 2 ** 15,
  '1/24': (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
  '1/32': (view, at) => view.getInt32(at, true) / 2 ** 31,
  '3/32': (view, at) => view.getFloat32(at, true),
}

/** The samples of a WAV file (RIFF, Microsoft 1991), its channels averaged, at 16,000 a second by linear interpolation. Throws BAD_REQUEST. */
export function readWav(file: Uint8Array): Float32Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const tag = (at: number) => Buffer.from(file.subarray(at, at + 4)).toString('latin1')
  if (file.byteLength < 12 || tag(0) !== 'RIFF' || tag(8) !== 'WAVE') throw invalid('expected a WAV file')
  let form: { read: (view: DataView, at: number) => number; channels: number; rate: number; bytes: number } | undefined
  for (let at = 12; at + 8 <= file.byteLength; ) {
    const [name, size] = [tag(at), view.getUint32(at + 4, true)]
    const body = at + 8
    const end = Math.min(body + size, file.byteLength)
    if (name === 'fmt ' && end - body >= 16) {
      const extensible = view.getUint16(body, true) === 0xfffe && end - body >= 26
      const kind = extensible ? view.getUint16(body + 24, true) : view.getUint16(body, true)
      const [channels, rate, bits] = [body + 2, body + 4, body + 14].map((place, i) =>
        i === 1 ? view.getUint32(place, true) : view.getUint16(place, true),
      )
      const key = `${kind}/${bits}`
      if (!Object.hasOwn(readers, key)) throw invalid('expected uncompressed samples of 8 to 32 bits')
      if (channels < 1 || channels > 8 || rate < 1_000 || rate > 384_000) throw invalid('its head is not valid')
      form = { read: readers[key], channels, rate, bytes: bits / 8 }
    } else if (name === 'data') {
      if (!form) throw invalid('its samples come before its format')
      return resampled(view, body, end, form)
    }
    at = body + size + (size % 2)
  }
  throw invalid('it has no samples')
}

function resampled(
  view: DataView,
  from: number,
  to: number,
  {
    read,
    channels,
    rate,
    bytes,
  }: { read: (view: DataView, at: number) => number; channels: number; rate: number; bytes: number },
): Float32Array {
  const count = Math.floor((to - from) / (bytes * channels))
  if (count === 0) throw invalid('it has no samples')
  if (count / rate > LONGEST) throw invalid(`longer than ${LONGEST} s`)
  const sample = (i: number) => {
    let sum = 0
    for (let channel = 0; channel < channels; channel++) sum += read(view, from + (i * channels + channel) * bytes)
    return sum / channels
  }
  const length = Math.max(1, Math.round((count * RATE) / rate))
  return Float32Array.from({ length }, (_, i) => {
    const place = Math.min(count - 1, (i * rate) / RATE)
    const before = Math.floor(place)
    const after = Math.min(count - 1, before + 1)
    return sample(before) + (place - before) * (sample(after) - sample(before))
  })
}
