import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { Files } from '../formats/source.ts'

interface Recorded {
  files: Record<string, string>
  input: { type: string; shape: number[]; data: number[] }
  output: { shape: number[]; data: number[] }
}

/** SavedModels that Keras exported, and what it answers (tools/golden_savedmodel.py). */
export function goldenSavedModels(): Record<'lstm' | 'conv', Omit<Recorded, 'files'> & { files: Files }> {
  const place = new URL('../formats/tensorflow/savedmodel.golden.json', import.meta.url)
  const golden = JSON.parse(readFileSync(place, 'utf8')) as Record<'lstm' | 'conv', Recorded>
  const unpacked = ({ files, ...rest }: Recorded) => ({
    ...rest,
    files: Object.fromEntries(
      Object.entries(files).map(([name, packed]) => [name, new Uint8Array(gunzipSync(Buffer.from(packed, 'base64')))]),
    ),
  })
  return { lstm: unpacked(golden.lstm), conv: unpacked(golden.conv) }
}
