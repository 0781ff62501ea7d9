// The process that reads data from outside: what never ends on a hostile file, or takes all memory, ends here alone.
import { flushCompileCache } from 'node:module'
import { passed } from '../../base/passing.ts'
import { watchdog } from '../../base/watchdog/watchdog.ts'
import { openDataset } from '../dataset.ts'
import { openImages } from '../images/source.ts'
import { parquetRows } from '../parquet.ts'
import type { FromReader, ReadJob, ToReader } from './apart.ts'

/** Items of one message: rows by their number, images by their bytes. */
const ROWS = 512
const IMAGE_BYTES = 4 << 20

const watch = watchdog()
let job: ReadJob
let items: AsyncGenerator<unknown> | undefined

process.on('disconnect', () => process.exit(0))
process.on('message', (message: ToReader) => {
  void work(message).then((answer) => {
    watch.rest()
    flushCompileCache() // before it is killed
    process.send!(answer)
  })
})

async function work(message: ToReader): Promise<FromReader> {
  try {
    if (message.type === 'open') {
      await items?.return(undefined)
      job = message.job
      items = opened(job)
    }
    watch.allow(job.allowance)
    const piece = await nextPiece(items!)
    return piece.length > 0 ? { type: 'piece', items: piece } : { type: 'end' }
  } catch (error) {
    return { type: 'failed', error: passed(error) }
  }
}

async function* opened(job: ReadJob): AsyncGenerator<unknown> {
  if (job.kind === 'parquet') yield* parquetRows(job.file)
  else if (job.kind === 'images') yield* (await openImages(job.path, job.name)).images()
  else {
    const dataset = await openDataset(job.path, job.options)
    try {
      yield* dataset.rows()
    } finally {
      await dataset.close()
    }
  }
}

async function nextPiece(items: AsyncGenerator<unknown>): Promise<unknown[]> {
  const piece: unknown[] = []
  let bytes = 0
  while (piece.length < ROWS && bytes < IMAGE_BYTES) {
    const { done, value } = await items.next()
    if (done) break
    piece.push(value)
    bytes += sizeOf(value)
  }
  return piece
}

/** Bytes of an image, encoded or as pixels; rows have none. */
function sizeOf(item: unknown): number {
  const { content } = item as { content?: Uint8Array | { data: Uint8Array } }
  if (!content) return 0
  return 'data' in content ? content.data.byteLength : content.byteLength
}
