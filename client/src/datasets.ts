import type { Http } from './http.ts'

export interface Dataset {
  id: string
  filename: string
  digest: string
  bytes: number
  createdAt: string
}

/** Calls about data sets. */
export function datasetCalls(http: Http) {
  return {
    /** Uploads a file; a stream is sent as it comes. Name it with its ending: it tells the format. */
    upload: (filename: string, content: ReadableStream<Uint8Array> | Uint8Array | Blob): Promise<Dataset> =>
      http.json('/api/datasets', {
        method: 'POST',
        query: { filename },
        body: content as BodyInit,
        headers: { 'content-type': 'application/octet-stream' },
        timeout: 0,
      }),
    list: async (): Promise<Dataset[]> => (await http.json<{ datasets: Dataset[] }>('/api/datasets')).datasets,
    delete: (id: string): Promise<void> => http.json(`/api/datasets/${encodeURIComponent(id)}`, { method: 'DELETE' }),
  }
}
