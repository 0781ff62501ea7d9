import { createReadStream } from 'node:fs'
import { copyFile, mkdir, readdir, stat } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
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
  readonly #kept = new Map<string, number>()
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

  /** Brings what another process kept of the run. */
  async fetchFiles() {
    for (const { name, digest } of await this.#records.files(this.#run)) {
      const path = join(this.#folder, name)
      await mkdir(dirname(path), { recursive: true })
      await copyFile(await this.#store.blobs.verify(digest), path)
    }
  }

  /** Keeps checkpoints and what was tried, as far as it changed; not more often than every few seconds. */
  keepFiles() {
    if (performance.now() - this.#keptAt < KEEP_EVERY) return
    this.#keptAt = performance.now()
    this.#keeping = this.#keeping.then(() => this.#keep()).catch(() => undefined) // the run goes on without
  }

  async #keep() {
    for (const name of await readdir(this.#folder, { recursive: true })) {
      // what is made of the data is made again elsewhere: without its rows its description would only mislead
      if (!/\.(safetensors|json)$/.test(name) || name.split(sep)[0] === 'data') continue
      const path = join(this.#folder, name)
      const { mtimeMs } = await stat(path)
      if (this.#kept.get(name) === mtimeMs) continue
      const stored = await this.#store.blobs.put(createReadStream(path) as AsyncIterable<Uint8Array>)
      try {
        await this.#records.keepFile(this.#run, { name, ...stored })
      } finally {
        this.#store.blobs.settle([stored.digest])
      }
      this.#kept.set(name, mtimeMs)
    }
  }

  async end() {
    clearInterval(this.#timer)
    await this.#keeping
  }
}
