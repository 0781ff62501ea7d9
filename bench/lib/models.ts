import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Manifest } from '../../src/bundle/manifest.ts'
import { llamaBundle } from '../../src/formats/gguf/foreign.ts'
import { writeLlamaGguf } from '../../src/formats/gguf/llama.ts'
import { bundleEncoder } from '../../src/formats/huggingface/bundle.ts'
import { folderFiles, type PublishedEncoder, readFolder } from '../../src/formats/huggingface/folder.ts'
import { smallDecoder } from '../../src/testing/decoders.ts'
import { tinyEncoder } from '../../src/testing/tiny-encoder.ts'
import type { Bundle } from './server.ts'

const whole = (manifest: Partial<Manifest>): Manifest =>
  ({
    format: 'athanor-bundle',
    formatVersion: 1,
    metrics: {},
    lineage: { code: 'bench' },
    createdAt: new Date(0).toISOString(),
    ...manifest,
  }) as Manifest

/** Words of up to four made-up syllables, each different. */
export function madeUpWords(count: number): string[] {
  const syllables = [...'bdfgklmnprstvz'].flatMap((b) => [...'aeiou'].map((a) => b + a))
  return Array.from({ length: count }, (_, i) => {
    let word = ''
    for (let n = i + 1; n > 0; n = Math.floor(n / syllables.length)) word += syllables[n % syllables.length]
    return word
  })
}

/** MiniLM-L6 as published (its folder is named by ATHANOR_MINILM), else an encoder of its sizes with made-up weights. */
async function miniLm(): Promise<PublishedEncoder> {
  const folder = process.env.ATHANOR_MINILM
  if (folder) {
    const files = folderFiles.map((file) => [file, () => readFile(join(folder, file))] as const)
    const present = await Promise.all(
      files.map(async ([file, read]) => [file, await read().catch(() => null)] as const),
    )
    return readFolder(new Map(present.flatMap(([file, bytes]) => (bytes ? [[file, async () => bytes] as const] : []))))
  }
  return tinyEncoder([madeUpWords(30_450).join(' ')], undefined, {
    sizes: { width: 384, layers: 6, heads: 12, inner: 1536, positions: 512 },
  })
}

export async function miniLmBundle(): Promise<Bundle> {
  const { manifest, files } = bundleEncoder(await miniLm())
  const bytes = Object.entries(files).map(([name, content]) => [name, Buffer.from(content as string)] as const)
  return { manifest: whole(manifest as Partial<Manifest>), files: Object.fromEntries(bytes) }
}

/** A GGUF file of the Llama layout with 0.1 billion made-up weights of 8 bits, which reads up to 2,048 tokens. */
export async function llamaFile(): Promise<Uint8Array> {
  const corpus = `${madeUpWords(20_000).join(' ')}\n`
  const decoder = await smallDecoder('llama', {
    tied: true,
    keyHeads: 4,
    width: 768,
    vocabulary: 8192,
    corpus,
    sizes: { context: 2048, layers: 14, heads: 12, inner: 2048 },
  })
  return writeLlamaGguf(decoder, 'made up', 'q8_0')
}

export function llamaFileBundle(file: Uint8Array): Bundle {
  const { manifest, files } = llamaBundle(file)
  return { manifest: whole(manifest), files }
}
