// The process that reads and writes files of other formats: what goes wrong here, or grows too large, ends here.
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { dirname, join } from 'node:path'
import { passed } from '../base/passing.ts'
import { watchdog } from '../base/watchdog/watchdog.ts'
import type { Conversion, FromConverter } from './convert.ts'
import { exportBundle } from './export.ts'
import { importBundle } from './import.ts'
import { checkFileName, type Files, type Source } from './source.ts'

const watch = watchdog()
process.on('disconnect', () => process.exit(0))
process.on('message', (job: Conversion) => {
  watch.allow(job.allowance)
  void work(job).then((answer) => {
    flushCompileCache() // before it is killed
    process.send!(answer, () => process.exit(0))
  })
})

async function work(job: Conversion): Promise<FromConverter> {
  try {
    if (job.kind === 'import') {
      const { manifest, files } = await importBundle(onDisk(job.files), job.options)
      return { type: 'done', manifest, files: save(job.folder, files) }
    }
    const content = Object.fromEntries(Object.entries(job.files).map(([name, path]) => [name, readFileSync(path)]))
    return { type: 'done', files: save(job.folder, await exportBundle(job.manifest, content, job.format, job.options)) }
  } catch (error) {
    return { type: 'failed', error: passed(error) }
  }
}

/** Stored files under the names they were given with; the names themselves open nothing. */
function onDisk(files: Readonly<Record<string, string>>): Source {
  const read = new Map<string, Uint8Array>()
  return {
    names: Object.keys(files).map(checkFileName),
    size: (name) => statSync(files[name]).size,
    read(name) {
      const content = read.get(name) ?? readFileSync(files[name])
      read.set(name, content)
      return content
    },
  }
}

/** Puts results into files numbered in order; returns their paths by name. */
function save(folder: string, files: Files): Record<string, string> {
  mkdirSync(folder, { recursive: true })
  return Object.fromEntries(
    Object.entries(files).map(([name, content], i) => {
      const path = join(folder, String(i))
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, content)
      return [checkFileName(name), path]
    }),
  )
}
