import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const sha = (algorithm: 'sha1' | 'sha256', ...parts: (string | Uint8Array)[]) => {
  const hash = createHash(algorithm)
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

/** What goes wrong on the way. */
export interface HubFaults {
  /** Answers of the content's host break off after so many bytes, as often as said. */
  breaks?: { after: number; times: number }
  /** Its answers know no ranges. */
  whole?: boolean
  /** What it sends is not what the list says. */
  changed?: boolean
  /** Where content in large-file storage is said to be. */
  location?: string
}

/**
 * A server with the routes of the Hugging Face hub that its clients read models by (huggingface_hub 2.4: model_info,
 * hf_hub_download): one repository `owner/name` at `main`, whose files of over 1,000 bytes are in large-file storage on a host of its own.
 */
export async function startHub(files: Readonly<Record<string, Uint8Array>>, { token }: { token?: string } = {}) {
  const commit = sha('sha1', ...Object.values(files))
  const faults: HubFaults = {}
  /** `host path range authorization`, by request. */
  const asked: string[] = []
  const note = (host: string, { url, headers }: IncomingMessage) =>
    asked.push([host, url, headers.range ?? '-', headers.authorization ?? '-'].join(' '))
  const large = (content: Uint8Array) => content.byteLength > 1000

  const storage = createServer((request, response) => {
    note('storage', request)
    const found = Object.values(files).find((content) => request.url === `/${sha('sha256', content)}`)
    if (!found) return void response.writeHead(403).end()
    const content = faults.changed ? found.map((byte) => byte ^ 1) : found
    const start = faults.whole ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const range = start > 0 ? { 'content-range': `bytes ${start}-${content.byteLength - 1}/${content.byteLength}` } : {}
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': content.byteLength - start, ...range })
    const { breaks } = faults
    if (!breaks || breaks.times === 0) return void response.end(content.subarray(start))
    breaks.times--
    response.write(content.subarray(start, start + breaks.after), () => response.destroy())
  }).listen(0, '127.0.0.1')

  function refuse(response: ServerResponse, status: number, code: string) {
    response.writeHead(status, { 'x-error-code': code, 'content-type': 'application/json' }).end('{"error":""}')
  }

  const hub = createServer((request, response) => {
    note('hub', request)
    const { pathname, searchParams } = new URL(request.url!, 'http://hub')
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`)
      return refuse(response, 401, 'RepoNotFound')
    const renamed = pathname.replace('/old/name/', '/owner/name/')
    if (renamed !== pathname)
      return void response
        .writeHead(307, { location: renamed + (searchParams.size > 0 ? `?${searchParams}` : '') })
        .end()
    const listed = /^\/api\/models\/owner\/name(?:\/revision\/([^/]+))?$/.exec(pathname)
    if (listed) {
      if (![undefined, 'main', commit].includes(listed[1])) return refuse(response, 404, 'RevisionNotFound')
      const siblings = Object.entries(files).map(([rfilename, content]) => ({
        rfilename,
        ...(searchParams.has('blobs') && {
          size: content.byteLength,
          blobId: sha('sha1', `blob ${content.byteLength}\0`, content),
          ...(large(content) && {
            lfs: { sha256: sha('sha256', content), size: content.byteLength, pointerSize: 130 },
          }),
        }),
      }))
      response.writeHead(200, { 'content-type': 'application/json' })
      return void response.end(JSON.stringify({ id: 'owner/name', modelId: 'owner/name', sha: commit, siblings }))
    }
    const [, revision, path] = /^\/owner\/name\/resolve\/([^/]+)\/(.+)$/.exec(pathname) ?? []
    if (revision === undefined) return refuse(response, 404, 'RepoNotFound')
    const content = files[decodeURIComponent(path)]
    if (!content || ![commit, 'main'].includes(revision)) return refuse(response, 404, 'EntryNotFound')
    response.setHeader('x-repo-commit', commit)
    if (!large(content)) {
      const headers = { etag: `"${sha('sha1', `blob ${content.byteLength}\0`, content)}"` }
      response.writeHead(200, { ...headers, 'content-length': content.byteLength })
      return void response.end(request.method === 'HEAD' ? undefined : content)
    }
    const digest = sha('sha256', content)
    const { port } = storage.address() as AddressInfo
    response.writeHead(302, {
      location: faults.location ?? `http://127.0.0.1:${port}/${digest}`,
      etag: `"${digest}"`,
      'x-linked-etag': `"${digest}"`,
      'x-linked-size': content.byteLength,
    })
    response.end()
  }).listen(0, '127.0.0.1')
  const servers = [hub, storage]
  await Promise.all(
    servers.map((server) => server.listening || new Promise((resolve) => server.once('listening', resolve))),
  )
  const { port } = hub.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    commit,
    faults,
    asked,
    close() {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
    },
  }
}
