import { renameSync, writeFileSync } from 'node:fs'

/** Writes a text file that is there whole or not at all, whenever its process may be killed. */
export function writeWhole(path: string, text: string) {
  writeFileSync(`${path}.partial`, text)
  renameSync(`${path}.partial`, path)
}
