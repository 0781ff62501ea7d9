import { renameSync, writeFileSync } from 'node:fs'

/** Writes a file that is there whole or not at all, whenever its process may be killed. */
export function writeWhole(path: string, content: string | Uint8Array) {
  writeFileSync(`${path}.partial`, content)
  renameSync(`${path}.partial`, path)
}
