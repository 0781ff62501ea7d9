import { readFileSync } from 'node:fs'

// ../../package.json from src/base, ../../../package.json from dist/src/base
const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }

/** The version of this package. */
export const version = (import.meta.url.endsWith('.ts') ? read('../../package.json') : read('../../../package.json'))
  .version
