import { fail } from '../base/errors.ts'

/** The image of a base64 text, as it is or as a `data:` URL. No other URL is ever followed: throws BAD_REQUEST. */
export function imageFromText(text: string, where: string): Uint8Array {
  const refuse = (message: string) => fail('BAD_REQUEST', { message: `${where}: ${message}` })
  if (/^\w+:\/\//.test(text)) throw refuse('images are not fetched; send the image itself in base64')
  const base64 = /^data:[^,]{0,100};base64,/.exec(text)
  if (!base64 && text.startsWith('data:')) throw refuse('a data URL must be in base64')
  const body = text.slice(base64?.[0].length ?? 0)
  // strict: the decoder of the runtime passes over what it does not know
  if (body === '' || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(body)) throw refuse('expected an image in base64')
  return Buffer.from(body, 'base64')
}
