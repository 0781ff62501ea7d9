import { createReadStream } from 'node:fs'
import { copyFile, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { writeWhole } from '../base/whole.ts'
import { LEASE, type RunRecords } from '../store/runs.ts'
import type { Store } from '../store/store.ts'

/** What a run is told by those who may not work on it: how it is to end, or that it is another's. */
export type Recall = 'cancelled' | 'interrupted' | 'lost'

/** Milliseconds between two times that files are kept. */
const KEEP_EVERY = 5_000

/**
 * The hold of a process on a run that others on the same database could take. It is renewed while the process is alive;
 * what the run needs to go on elsewhere is kept in the blobs.
 */
export class Tenure {
  readonly #store: Store
  readonly #records: RunRecords
  readonly #run: string
  readonly #owner: string
  readonly #folder: string
  readonly #timer: NodeJS.Timeout
  /** When files were last changed, of those that this process kept. */
  readonly #seen = new Map<string, number>()
  /** Digests of files as this data folder last kept or fetched them, across processes in the file #ledger. */
  #known = new Map<string, string>()
  readonly #ledger: string
  #heldAt = performance.now()
  #keptAt = Number.NEGATIVE_INFINITY
  #keeping: Promise<void> = Promise.resolve()

  /** Renews the hold until `end`; `recall` is called once the run is to end or another has it. */
  constructor(
    { store, records, owner }: { store: Store; records: RunRecords; owner: string },
    { run, folder }: { run: string; folder: string },
    recall: (how: Recall) => void,
  ) {
    this.#store = store
    this.#records = records
    this.#run = run
    this.#owner = owner
    this.#folder = folder
    this.#ledger = join(folder, '.kept')
    this.#timer = setInterval(() => void this.#renew(recall), LEASE / 5)
  }

  async #renew(recall: (how: Recall) => void) {
    const asked = performance.now()
    try {
      const held = await this.#records.hold(this.#run, this.#owner)
      if (!held) return recall('lost')
      this.#heldAt = asked
      if (held.wanted !== null) recall(held.wanted as Recall)
    } catch {
      // the database is away: others may take it as soon as the lease is over
      if (performance.now() - this.#heldAt > LEASE * 0.8) recall('lost')
    }
  }

  /**
   * Brings what another process kept of the run since this data folder last did. What it kept itself lies here already, as
   * it was then or newer.
   */
  async fetchFiles() {
    this.#known = new Map(Object.entries(JSON.parse(await readFile(this.#ledger, 'utf8').catch(() => '{}'))))
    const files = await this.#records.files(this.#run)
    const kept = new Set(files.map(({ name }) => name))
    for (const name of this.#known.keys()) if (!kept.has(name)) await this.#forget(name)
    for (const { name, digest } of files) {
      if (this.#known.get(name) === digest) continue
      const path = join(this.#folder, name)
      await mkdir(dirname(path), { recursive: true })
      await copyFile(await this.#store.blobs.verify(digest), path)
      this.#known.set(name, digest)
    }
    this.#note()
  }

  /** Removes what another process had no use for any more. */
  async #forget(name: string) {
    await rm(join(this.#folder, name), { force: true })
    this.#known.delete(name)
  }

  #note() {
    writeWhole(this.#ledger, JSON.stringify(Object.fromEntries(this.#known)))
  }

  /** Keeps checkpoints and what was tried, as far as it changed; not more often than every few seconds. */
  keepFiles() {
    if (performance.now() - this.#keptAt < KEEP_EVERY) return
    this.#keptAt = performance.now()
    this.#keeping = this.#keeping.then(() => this.#keep()).catch(() => undefined) // the run goes on without
  }

  async #keep() {
    const { blobs } = this.#store
    const changed: { name: string; digest: string; bytes: number }[] = []
    const gone = new Set(this.#known.keys())
    try {
      for (const name of await readdir(this.#folder, { recursive: true })) {
        // what is made of the data is made again elsewhere: without its rows its description would only mislead
        if (!/\.(safetensors|json)$/.test(name) || /^(data$|athanor-)/.test(name.split(sep)[0])) continue
        const path = join(this.#folder, name)
        const about = await stat(path).catch(() => undefined)
        if (!about) continue // removed meanwhile
        gone.delete(name)
        const { mtimeMs } = about
        if (this.#seen.get(name) === mtimeMs) continue
        changed.push({ name, ...(await blobs.put(createReadStream(path) as AsyncIterable<Uint8Array>)) })
        this.#seen.set(name, mtimeMs)
      }
      if (!(await this.#records.keepFiles(this.#run, this.#owner, { changed, gone: [...gone] }))) return
    } catch (error) {
      for (const { name } of changed) this.#seen.delete(name)
      throw error
    } finally {
      blobs.settle(changed.map(({ digest }) => digest))
    }
    for (const name of gone) this.#known.delete(name)
    for (const { name, digest } of changed) this.#known.set(name, digest)
    this.#note()
  }

  async end() {
    clearInterval(this.#timer)
    await this.#keeping
  }
}
