import type { Manifest } from '../bundle/manifest.ts'
import type { Registry } from '../registry/registry.ts'
import type { Datasets } from '../store/datasets.ts'
import type { Refinement } from '../train/runs.ts'
import type { RefineJob } from './job.ts'

/** Refinement as runs do it: the version is checked out, and its training data looked for by its digest. */
export const refinement = (registry: Registry, datasets: Datasets): Refinement => ({
  worker: new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
  async check(spec) {
    // passes are needed here alone: a server that only serves is spared their memory
    const { checkRefinable, stepsOf } = await import('./job.ts')
    stepsOf(spec)
    const { name, manifest } = await registry.resolve(spec.refine)
    checkRefinable(manifest)
    return name
  },
  async job(base, spec, source) {
    const version = await registry.resolve(spec.refine)
    const { name, manifest } = version
    const files = await registry.checkout(version)
    const data = spec.data ?? (await findData(manifest, datasets))
    const job: RefineJob = {
      ...base,
      spec,
      source: { name, version: version.version, manifest, files },
      ...(spec.heldOut !== undefined && { heldOut: await source(spec.heldOut, 'heldout') }),
      ...(data !== undefined && { data: await source(data, 'data') }),
    }
    return job
  },
})

/**
 * The data set a version was trained on: a package, or an upload of the same content. The digest of images is that of their
 * pixels, so they are found by name; whether they are the same is seen when they are read.
 */
async function findData({ lineage, task }: Manifest, datasets: Datasets): Promise<string | undefined> {
  const { dataset } = lineage
  if (!dataset || dataset.source.startsWith('npm:')) return dataset?.source
  const [digest] = dataset.digest.split('+') // a validation file's follows
  const images = task === 'image-classification'
  return (await datasets.list()).find((one) => (images ? one.filename === dataset.source : one.digest === digest))?.id
}
