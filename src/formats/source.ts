import { fail } from '../base/errors.ts'

/** The files of a model that is read. Their names are keys to look up; nothing is ever opened or written by them. */
export interface Source {
  readonly names: readonly string[]
  size(name: string): number
  read(name: string): Uint8Array
}

/** Files written for a model, by name; a name may have folders, separated by `/`. */
export type Files = Record<string, Uint8Array>

const FILE_LIMIT = 10_000
const NAME_LIMIT = 300

/** The name if it is a plain relative one; throws FORMAT_INVALID for anything that could lead elsewhere. */
export function checkFileName(name: string): string {
  const parts = name.split('/')
  const plain =
    name.length <= NAME_LIMIT &&
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
    !/[\\:\u0000-\u001f]/.test(name) &&
    parts.every((part) => part !== '' && part !== '.' && part !== '..')
  if (!plain) throw invalid('files', `"${name.slice(0, 80)}" is not a plain relative file name`)
  return name
}

/** Files in memory as a source. */
export function sourceOf(files: Files): Source {
  const names = Object.keys(files).map(checkFileName)
  if (names.length === 0) throw invalid('files', 'no file was given')
  if (names.length > FILE_LIMIT) throw invalid('files', `more than ${FILE_LIMIT} files`)
  const found = (name: string) => {
    if (!Object.hasOwn(files, name)) throw invalid('files', `"${name.slice(0, 80)}" was not given`)
    return files[name]
  }
  return { names, size: (name) => found(name).byteLength, read: found }
}

/** A file that is not what its format promises. */
export const invalid = (format: string, reason: string, cause?: unknown) =>
  fail('FORMAT_INVALID', { format, reason }, cause === undefined ? {} : { cause })

/** Largest JSON document in a model's files, and how deep it may be nested. */
const JSON_LIMIT = 64 << 20
const DEPTH_LIMIT = 64

/** A JSON document of bounded size and depth; throws FORMAT_INVALID. */
export function parseJson(format: string, bytes: Uint8Array | string): unknown {
  const text = typeof bytes === 'string' ? bytes : decode(format, bytes)
  if (text.length > JSON_LIMIT) throw invalid(format, `a JSON document of ${text.length} characters`)
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const at = text.charCodeAt(i)
    if (quoted) {
      if (at === 92) i++
      else if (at === 34) quoted = false
    } else if (at === 34) quoted = true
    else if (at === 123 || at === 91) {
      if (++depth > DEPTH_LIMIT) throw invalid(format, `JSON nested deeper than ${DEPTH_LIMIT}`)
    } else if (at === 125 || at === 93) depth--
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw invalid(format, 'a part that should be JSON is not', error)
  }
}

const decode = (format: string, bytes: Uint8Array): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw invalid(format, 'text that is not UTF-8', error)
  }
}
