import type { Resolved } from '../../serve/deployments.ts'
import { findModel } from '../ask.ts'
import type { House } from '../route.ts'

/** `name:tag` is a version or alias; without a tag, or with `latest`, the newest version. */
function refOf(name: string): string {
  const at = name.lastIndexOf(':')
  if (at < 0) return name
  return name.slice(at + 1) === 'latest' ? name.slice(0, at) : `${name.slice(0, at)}@${name.slice(at + 1)}`
}

export const findNamed = (house: House, name: string): Promise<Resolved> => findModel(house, refOf(name))

export const tagged = (name: string, tag: number | string = 'latest') => `${name}:${tag}`
