import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { AthanorError } from '../base/errors.ts'
import type { Route } from './route.ts'

/** What a failed request is answered with, in a protocol's own shape. */
export interface Failure {
  /** The error's own status if absent. */
  status?: number
  headers?: Record<string, string>
  body: unknown
}

/** A protocol: where its paths lie, its routes, how its errors look, and where it stands when it has a port of its own. */
export interface Door {
  /** How metrics, logs and `--door` name it. */
  readonly name: string
  /** Paths that begin so belong to it; `/` catches what no other door claims. */
  readonly prefixes: readonly string[]
  readonly routes: readonly Route[]
  readonly failure: (error: AthanorError, requestId: string) => Failure
  /** Reads bodies of type application/octet-stream, up to a limit; without it they are streamed to their handler. */
  readonly readOctets?: (content: Readable, headers: IncomingHttpHeaders, limit: number) => Promise<unknown>
  /** Bodies are JSON whatever their type says: `curl -d` calls them forms. */
  readonly looseJson?: boolean
  /** Bodies of these paths are files, whatever type they are said to be of. */
  readonly anyType?: RegExp
  /** A door whose clients expect its paths at the root can have a port of its own. */
  readonly ownPort?: OwnPort
}

interface OwnPort {
  /** Where its paths lie on the main port; `:model` is filled with the model that the port serves. */
  readonly mount: string
  /** Paths at its own port that are its; all others mean what they mean on the main port. */
  readonly owns: RegExp
}

/** The door of a path, by the longest prefix. */
export function doorOf(path: string, doors: readonly Door[]): Door {
  let found = doors[0]
  let longest = -1
  for (const door of doors) {
    for (const prefix of door.prefixes) {
      if (prefix.length > longest && begins(path, prefix)) [found, longest] = [door, prefix.length]
    }
  }
  return found
}

/** Whether a path is a prefix or lies below it. */
const begins = (path: string, prefix: string) =>
  prefix === '/' ||
  (path.startsWith(prefix) &&
    (path.length === prefix.length || path[prefix.length] === '/' || path[prefix.length] === '?'))
