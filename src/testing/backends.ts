import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newId } from '../base/ids.ts'
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

const root = mkdtempSync(join(tmpdir(), 'athanor-backend-'))
const databases: string[] = []
let homes = 0
const newHome = () => join(root, `home${homes++}`)

/** Runs a statement on the server whose databases the tests make. */
async function administer(statement: string) {
  const { Client } = (await import('pg')).default
  const client = new Client({ connectionString: postgres! })
  await client.connect()
  await client.query(statement)
  await client.end()
}

/** Address of a database that did not exist. */
async function freshDatabase(): Promise<string> {
  const name = newId('athanor_test')
  await administer(`create database ${name}`)
  databases.push(name)
  const url = new URL(postgres!)
  url.pathname = name
  return url.href
}

/** A part of the bucket that nothing was in. */
function freshBucket(): string {
  const url = new URL(s3!)
  url.pathname = newId('test')
  return url.href
}

/** SQLite and a folder, and PostgreSQL and an object store where ATHANOR_TEST_POSTGRES and ATHANOR_TEST_S3 name them. */
export const backends: readonly Backend[] = [
  { name: 'SQLite and a folder', skip: false, fresh: async () => ({ home: newHome(), places: {} }) },
  {
    name: 'PostgreSQL and S3',
    skip: postgres && s3 ? false : 'ATHANOR_TEST_POSTGRES and ATHANOR_TEST_S3 are not set: npm run test:stores',
    fresh: async () => ({ home: newHome(), places: { database: await freshDatabase(), blobs: freshBucket() } }),
  },
]

/** Removes what `fresh` made. */
export async function removeBackends() {
  rmSync(root, { recursive: true, force: true })
  for (const name of databases.splice(0)) await administer(`drop database ${name} with (force)`)
}
