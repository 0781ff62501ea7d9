import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Access } from '../access/access.ts'
import type { NewKey } from '../access/keys.ts'
import { openStore, type Places } from '../store/store.ts'
import { placesAt } from './backends.ts'

/** A data folder with tenants and a key of theirs for each name, for servers that ask for keys. */
export async function homeWithKeys<Name extends string>(
  wanted: Record<Name, NewKey & { tenant: string }>,
): Promise<{ home: string; places: Places; keys: Record<Name, string> }> {
  const home = mkdtempSync(join(tmpdir(), 'athanor-tenants-'))
  process.once('exit', () => rmSync(home, { recursive: true, force: true })) // servers of the test have ended by then
  const places = await placesAt(home)
  const store = await openStore(home, places)
  const access = await Access.open(store, true)
  const keys: Record<string, string> = {}
  for (const [name, { tenant, ...key }] of Object.entries<NewKey & { tenant: string }>(wanted)) {
    await access.tenants.set(tenant, undefined)
    keys[name] = (await access.keys.create(tenant, 'test', key)).token
  }
  await access.close()
  await store.close()
  return { home, places, keys: keys as Record<Name, string> }
}
