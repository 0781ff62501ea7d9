import { randomFillSync } from 'node:crypto'
import { fail } from './errors.ts'

/** A short random identifier, sortable by creation time: 8 characters of time, 8 random, in base 32. */
export function newId(prefix: string, now = Date.now()): string {
  const time = now.toString(32).padStart(9, '0')
  const noise = randomBits40().toString(32).padStart(8, '0')
  return `${prefix}_${time}${noise}`
}

/** Random bytes are drawn a thousand times five at once: a call of the system's generator takes as long as all the rest. */
const pool = Buffer.alloc(5_000)
let next = pool.length

function randomBits40(): number {
  if (next === pool.length) {
    randomFillSync(pool)
    next = 0
  }
  next += 5
  return pool.readUIntBE(next - 5, 5)
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,127}$/

/** Returns the name if it is a valid model, alias or run name; throws NAME_INVALID otherwise. */
export function checkName(name: string): string {
  if (!NAME.test(name)) throw fail('NAME_INVALID', { name: name.slice(0, 80) })
  return name
}

/** Splits `name`, `name@3` or `name@champion`; throws NAME_INVALID for anything else. */
export function parseModelRef(ref: string): { name: string; version?: string } {
  const at = ref.indexOf('@')
  if (at < 0) return { name: checkName(ref) }
  return { name: checkName(ref.slice(0, at)), version: checkName(ref.slice(at + 1)) }
}

/** A model's name from a file's: its stem, in the characters that names may have. */
export function modelNameFrom(filename: string): string {
  return filename
    .replace(/\.\w+$/, '')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
    .slice(0, 100)
}
