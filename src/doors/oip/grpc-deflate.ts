import { promisify } from 'node:util'
import { deflate, inflate } from 'node:zlib'
import { Code, ConnectError } from '@connectrpc/connect'

const [compress, decompress] = [promisify(deflate), promisify(inflate)]

/** The one of gRPC's usual compressions that the library does not bring: zlib's format, as in HTTP. */
export const compressionDeflate = {
  name: 'deflate',
  compress: async (bytes: Uint8Array) => new Uint8Array(await compress(bytes)),
  async decompress(bytes: Uint8Array, maxOutputLength: number) {
    if (bytes.length === 0) return new Uint8Array()
    try {
      return new Uint8Array(await decompress(bytes, { maxOutputLength }))
    } catch (error) {
      const large = (error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE'
      throw new ConnectError(
        large ? `message is larger than ${maxOutputLength} bytes` : 'the message is not deflate',
        large ? Code.ResourceExhausted : Code.InvalidArgument,
      )
    }
  },
}
