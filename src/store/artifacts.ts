import { fail } from '../base/errors.ts'
import type { Store } from './store.ts'

export interface ArtifactEntry {
  /** Its name in the folder that was listed. */
  path: string
  is_dir: boolean
  file_size?: number
}

/** Longest path. */
const LONGEST = 1_000

/** A path of names; throws BAD_REQUEST. It names a row and never a file of the machine. */
export function checkPath(path: string): string {
  const names = path.split('/')
  const wrong = (name: string) => name === '' || name === '.' || name === '..' || /[\\\p{Cc}]/u.test(name)
  if (path.length > LONGEST || names.some(wrong))
    throw fail('BAD_REQUEST', { message: `"${path.slice(0, 80)}" is not a path of an artifact` })
  return path
}

/** Files by paths of their own choosing, as rows that name blobs. */
export class Artifacts {
  readonly #store: Pick<Store, 'db' | 'blobs'>

  constructor(store: Pick<Store, 'db' | 'blobs'>) {
    this.#store = store
  }

  async put(path: string, content: AsyncIterable<Uint8Array>, limit: number) {
    const { db, blobs } = this.#store
    checkPath(path)
    const { digest, bytes } = await blobs.put(content, limit)
    try {
      await db
        .insertInto('artifacts')
        .values({ path, digest, bytes })
        .onConflict((c) => c.column('path').doUpdateSet({ digest, bytes }))
        .execute()
    } finally {
      blobs.settle([digest])
    }
  }

  /** Where it is on this machine; throws ARTIFACT_NOT_FOUND. */
  async find(path: string): Promise<{ file: string; bytes: number }> {
    const row = await this.#store.db.selectFrom('artifacts').selectAll().where('path', '=', path).executeTakeFirst()
    if (!row) throw fail('ARTIFACT_NOT_FOUND', { path: path.slice(0, 200) })
    return { file: await this.#store.blobs.verify(row.digest), bytes: row.bytes }
  }

  /** Files and folders right below a folder. */
  async list(folder: string): Promise<ArtifactEntry[]> {
    const prefix = folder === '' ? '' : `${folder}/`
    const rows = await this.#below(prefix)
    const entries = new Map<string, ArtifactEntry>()
    for (const { path, bytes } of rows) {
      const [name, ...more] = path.slice(prefix.length).split('/')
      entries.set(
        name,
        more.length > 0 ? { path: name, is_dir: true } : { path: name, is_dir: false, file_size: bytes },
      )
    }
    return [...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  }

  async delete(path: string) {
    const found = (await this.#below(`${path}/`)).map((row) => row.path)
    await this.#store.db
      .deleteFrom('artifacts')
      .where('path', 'in', [path, ...found])
      .execute()
  }

  #below(prefix: string) {
    return this.#store.db
      .selectFrom('artifacts')
      .select(['path', 'bytes'])
      .where('path', '>=', prefix)
      .where('path', '<', `${prefix}\u{10ffff}`)
      .orderBy('path')
      .limit(10_000)
      .execute()
  }
}
