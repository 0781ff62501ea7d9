import { fileOf } from '../serve/hub-input.ts'

/** The image of a base64 text, as it is or as a `data:` URL. No other URL is ever followed: throws BAD_REQUEST. */
export const imageFromText = (text: string, where: string): Uint8Array => fileOf(text, where, 'image')
