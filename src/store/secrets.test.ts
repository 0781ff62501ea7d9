import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { AthanorError } from '../base/errors.ts'
import { Secrets } from './secrets.ts'

const home = mkdtempSync(join(tmpdir(), 'athanor-secrets-'))
after(() => rmSync(home, { recursive: true, force: true }))
const codeOf = (error: unknown) => (error as AthanorError).code

test('what is sealed opens for its own use, under its own key, unchanged; and for nothing else', () => {
  const secrets = new Secrets(home)
  const sealed = secrets.seal('sk-äöü', 'upstream https://a')
  assert.equal(statSync(join(home, 'secret.key')).mode & 0o777, 0o600)
  assert.equal(new Secrets(home).unseal(sealed, 'upstream https://a'), 'sk-äöü')
  assert.notDeepEqual(secrets.seal('sk-äöü', 'upstream https://a'), sealed, 'each has a nonce of its own')
  const unreadable = (bytes: Uint8Array, of: string, by = secrets) =>
    assert.throws(
      () => by.unseal(bytes, of),
      (error) => codeOf(error) === 'SECRET_UNREADABLE',
    )
  unreadable(sealed, 'upstream https://b')
  for (let i = 0; i < sealed.length; i++) {
    const changed = Uint8Array.from(sealed)
    changed[i] ^= 1
    unreadable(changed, 'upstream https://a')
    unreadable(sealed.subarray(0, i), 'upstream https://a')
  }
  const key = readFileSync(join(home, 'secret.key'))
  writeFileSync(join(home, 'secret.key'), Buffer.alloc(32, 7))
  unreadable(sealed, 'upstream https://a', new Secrets(home))
  const [here, there] = [
    new Secrets(home, 'one of several servers'),
    new Secrets(join(home, 'none'), 'one of several servers'),
  ]
  assert.equal(there.unseal(here.seal('x', 'y'), 'y'), 'x', 'servers that share a secret open what the others sealed')
  writeFileSync(join(home, 'secret.key'), key.subarray(1))
  assert.throws(
    () => new Secrets(home).seal('x', 'y'),
    (error) => codeOf(error) === 'HOME_UNUSABLE',
  )
})
