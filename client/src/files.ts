import type { Http } from './http.ts'

/** A format that models are read from or written to. */
export interface FormatInfo {
  name: string
  title: string
  files: string
  reads: boolean
  writes: boolean
  out: string
  in: string
}

/** A file on its way: how much of it the server has. */
export interface Transfer {
  digest: string
  bytes: number
  offset: number
}

export interface ImportOptions {
  format?: string
  /** `tensor` for a model that looks as if it read texts or saw images; what a folder for transformers.js is for. */
  task?: string
  /** The JSON of a Keras Tokenizer, or Hugging Face's tokenizer.json: the model then takes texts. */
  tokenizer?: string
  labels?: string[]
  /** Ids in a row, where the model itself does not say. */
  length?: number
  padding?: 'pre' | 'post'
  truncating?: 'pre' | 'post'
  /** What pixels were in training: 0 to 255, 0 to 1, -1 to 1, or by ImageNet's mean and deviation. */
  pixels?: 'bytes' | 'unit' | 'signed' | 'imagenet'
  /** How an image of another shape is brought to size: its middle (unless told otherwise), all of it, or stretched. */
  fit?: 'cover' | 'contain' | 'fill'
  /** Where the files came from: recorded in the lineage. */
  source?: string
  description?: string
}

export interface ExportOptions {
  opset?: number
  externalData?: boolean
  keepOperators?: boolean
}

/** Files of a published model that the server has fetched, where they came from, and bytes that are still missing. */
export interface Fetched {
  files: { name: string; digest: string; bytes: number }[]
  source: string
  missing: number
}

export interface Exported {
  model: string
  version: number
  format: string
  files: { name: string; digest: string; bytes: number }[]
}

export type FileCalls = ReturnType<typeof fileCalls>

/** Files on their way to an import, or from an export; an upload or download that broke off goes on where it stopped. */
export function fileCalls(http: Http) {
  const begin = (digest: string, bytes: number): Promise<Transfer> =>
    http.json('/api/files', { method: 'POST', json: { digest, bytes }, again: true })

  /** Sends the bytes of a file from `offset` on. */
  const send = (
    { digest, bytes, offset }: Transfer,
    content: ReadableStream<Uint8Array> | Uint8Array | Blob,
  ): Promise<Transfer> =>
    http.json(`/api/files/${digest}`, {
      method: 'PUT',
      query: { offset, bytes },
      body: content as BodyInit,
      headers: { 'content-type': 'application/octet-stream' },
      timeout: 0,
    })

  return {
    begin,
    send,
    /** Sends what the server lacks of a file and returns its sha256. */
    upload: async (content: Uint8Array<ArrayBuffer>): Promise<string> => {
      const digest = hex(await crypto.subtle.digest('SHA-256', content))
      const { offset } = await begin(digest, content.byteLength)
      if (offset < content.byteLength || content.byteLength === 0) {
        await send({ digest, bytes: content.byteLength, offset }, content.subarray(offset))
      }
      return digest
    },
    /**
     * Has the server fetch the files of a published model, `hf:OWNER/NAME[@revision][#path]` or
     * `npm:<package>@<version>[#path]`; `watch` is told how much is missing. Throws FETCH_FORBIDDEN where its operator does
     * not allow it.
     */
    fetch: async (
      from: string,
      { format, watch }: { format?: string; watch?: (missing: number) => void } = {},
    ): Promise<Fetched> => {
      for (let at = from; ; ) {
        const json = { from: at, ...(format !== undefined && { format }) }
        const fetched = await http.json<Fetched>('/api/files/fetch', { method: 'POST', json, timeout: 0, again: true })
        watch?.(fetched.missing)
        if (fetched.missing === 0) return fetched
        at = fetched.source // the same commit again
      }
    },
    /** The bytes of a file of an export from `offset` on, as a stream. */
    download: async (digest: string, offset = 0): Promise<ReadableStream<Uint8Array>> => {
      const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {}
      return (await http.send(`/api/files/${digest}`, { timeout: 0, headers })).body!
    },
  }
}

const hex = (bytes: ArrayBuffer) =>
  Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, '0')).join('')
