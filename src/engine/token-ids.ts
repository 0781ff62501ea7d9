import { fail } from '../base/errors.ts'

/** Throws BAD_REQUEST unless every id is that of a token in a vocabulary of `size`. */
export function checkIds(ids: readonly number[], size: number) {
  const wrong = ids.find((id) => !(id < size))
  if (wrong !== undefined)
    throw fail('BAD_REQUEST', { message: `the token id ${wrong} is none of the model's: they are 0 to ${size - 1}` })
}
