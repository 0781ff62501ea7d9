import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { hubTaskOf } from '../bundle/hub.ts'
import type { Manifest } from '../bundle/manifest.ts'
import type { ImagePipelineConfig } from '../data/images/pixels.ts'
import { sampleFiles } from '../data/samples.ts'
import type { NewRequest } from '../engine/engine.ts'
import { elements, fromNumbers, isDataType } from '../graph/tensor.ts'

const PLAIN = 'The quick brown fox jumps over the lazy dog, and nobody minds. 今天天气很好。'

/**
 * Requests such as a version is asked, of `rows` rows each: its held-out texts where it keeps some, else plain words, grey
 * images or zeros. Empty for a version that writes texts, and for tasks of the hub.
 */
export async function exampleRequests(
  { task, pipeline, signature }: Manifest,
  files: Readonly<Record<string, string>>,
  count: number,
  rows = 1,
): Promise<NewRequest[]> {
  const make = <T>(one: () => T) => Array.from({ length: count }, one)
  if (task === 'text-generation' || hubTaskOf(task)) return []
  if (task === 'image-classification') {
    const { height, width, channels } = pipeline as unknown as ImagePipelineConfig
    const image = { height, width, channels, data: new Uint8Array(height * width * channels).fill(128) }
    return make(() => ({ images: Array.from({ length: rows }, () => image) }))
  }
  if (task === 'tensor') {
    const inputs = signature.inputs.map(({ name, dtype, shape }) => {
      const dims = shape.map((dim, axis) => (typeof dim === 'number' ? dim : axis === 0 ? rows : 1))
      const known = isDataType(dtype) ? dtype : 'float32'
      return [name, fromNumbers(known, dims, new Array<number>(elements(dims)).fill(0))] as const
    })
    return make(() => ({ inputs: Object.fromEntries(inputs) }))
  }
  const texts = await heldOut(files, count * rows)
  let next = 0
  return make(() => ({ texts: Array.from({ length: rows }, () => texts[next++ % texts.length]) }))
}

/** The first texts that the version kept, or plain words of several lengths. */
async function heldOut(files: Readonly<Record<string, string>>, limit: number): Promise<string[]> {
  const path = files[sampleFiles.heldOut]
  const texts: string[] = []
  if (path !== undefined) {
    for await (const line of createInterface(createReadStream(path))) {
      if (line !== '') texts.push(String((JSON.parse(line) as { text: string }).text))
      if (texts.length >= limit) break
    }
  }
  return texts.length > 0 ? texts : [PLAIN.slice(0, 16), PLAIN, PLAIN.repeat(4)]
}
