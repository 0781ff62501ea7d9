import type { Config } from '../base/config.ts'
import { fail } from '../base/errors.ts'

/** Holds the number of a request's inputs to what the server takes at once; throws BAD_REQUEST. */
export function checkCount({ batchLimit }: Pick<Config, 'batchLimit'>, what: 'text' | 'image', count: number) {
  if (count === 0) throw fail('BAD_REQUEST', { message: `inputs: expected at least one ${what}` })
  if (count > batchLimit)
    throw fail('BAD_REQUEST', { message: `inputs: expected at most ${batchLimit} ${what}s, got ${count}` })
}

/** The same of texts, or of lists of token ids, each of which has a limit as well; throws BAD_REQUEST and TEXT_TOO_LONG. */
export function checkTexts(
  config: Pick<Config, 'batchLimit' | 'textLimit'>,
  texts: readonly { readonly length: number }[],
) {
  checkCount(config, 'text', texts.length)
  for (const { length } of texts)
    if (length > config.textLimit) throw fail('TEXT_TOO_LONG', { length, limit: config.textLimit })
}
