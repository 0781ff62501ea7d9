import { createRequire } from 'node:module'

/** The Chinese script that texts are converted to. */
export type Script = 'simplified' | 'traditional'

type Convert = (text: string) => string
interface OpenCC {
  Converter(options: { from: string; to: string }): Convert
}

const require = createRequire(import.meta.url)
// dictionaries of 0.1 and 1.1 MB: loaded by the first text that needs them
const sources = {
  simplified: () => (require('opencc-js/t2cn') as OpenCC).Converter({ from: 't', to: 'cn' }),
  traditional: () => (require('opencc-js/cn2t') as OpenCC).Converter({ from: 'cn', to: 't' }),
} as const satisfies Record<Script, () => Convert>
const loaded: Partial<Record<Script, Convert>> = {}

/** A text in one Chinese script, by OpenCC's dictionaries of characters and phrases; other scripts stay as they are. */
export function toScript(text: string, script: Script): string {
  if (!/\p{Script=Han}/u.test(text)) return text
  const convert = loaded[script] ?? sources[script]()
  loaded[script] = convert
  return convert(text)
}
