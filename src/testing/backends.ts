import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Places } from '../store/store.ts'

/** A kind of database and blob store that the tests of stores run against. */
export interface Backend {
  readonly name: string
  /** Why it cannot be tested here; false if it can. */
  readonly skip: string | false
  /** A fresh data folder, and a database and blobs of its own. */
  fresh(): Promise<{ home: string; places: Places }>
}

const { ATHANOR_TEST_POSTGRES: postgres, ATHANOR_TEST_S3: s3 } = process.env

const DUPLICATE_DATABASE = '42P04'
let root: string | undefined
const databases = new Set<string>()
let homes = 0
function newHome(): string {
  root ??= mkdtempSync(join(tmpdir(), 'athanor-backend-'))
  return join(root, `home${homes++}`)
}

/** Runs a statement on the server whose databases the tests make. */
async function administer(statement: string) {
  const { Client } = (await import('pg')).default
  const client = new Client({ connectionString: postgres! })
  await client.connect()
  await client.query(statement)
  await client.end()
}

const withPath = (address: string, path: string) => Object.assign(new URL(address), { pathname: path }).href

/** A database and a part of the bucket for a data folder, the same each time it is asked for. */
async function sharedPlaces(home: string): Promise<{ database: string; blobs: string }> {
  const name = `athanor_test_${createHash('sha256').update(home).digest('hex').slice(0, 20)}`
  if (!databases.has(name)) {
    databases.add(name)
    await administer(`create database ${name}`).catch((error: { code?: string }) => {
      if (error.code !== DUPLICATE_DATABASE) throw error
    })
  }
  return { database: withPath(postgres!, name), blobs: withPath(s3!, name) }
}

/**
 * Where the store of a test's data folder lies: in it, or in PostgreSQL and an object store where ATHANOR_TEST_POSTGRES and
 * ATHANOR_TEST_S3 name them. Every test that opens a house asks this, so that `npm run test:stores` runs it on the latter.
 */
export const placesAt = async (home: string): Promise<{ database?: string; blobs?: string }> =>
  postgres && s3 ? sharedPlaces(home) : {}

/** The same for commands that a test starts. */
export async function variablesAt(home: string): Promise<NodeJS.ProcessEnv> {
  const { database, blobs } = await placesAt(home)
  return { ATHANOR_HOME: home, ...(database && { ATHANOR_DATABASE: database, ATHANOR_BLOBS: blobs }) }
}

/** SQLite and a folder, and PostgreSQL and an object store where ATHANOR_TEST_POSTGRES and ATHANOR_TEST_S3 name them. */
export const backends: readonly Backend[] = [
  { name: 'SQLite and a folder', skip: false, fresh: async () => ({ home: newHome(), places: {} }) },
  {
    name: 'PostgreSQL and S3',
    skip: postgres && s3 ? false : 'ATHANOR_TEST_POSTGRES and ATHANOR_TEST_S3 are not set: npm run test:stores',
    async fresh() {
      const home = newHome()
      return { home, places: await sharedPlaces(home) }
    },
  },
]

/** Removes what `fresh` made. */
export async function removeBackends() {
  if (root !== undefined) rmSync(root, { recursive: true, force: true })
  for (const name of databases) await administer(`drop database ${name} with (force)`)
  databases.clear()
}
