import type { Manifest } from '../bundle/manifest.ts'
import type { Version } from './registry.ts'

/** A version beside the others; what was not measured is absent. */
export interface Compared {
  version: number
  family: string
  metrics: Record<string, number>
  parameters: number
  /** Of all its files. */
  bytes: number
  /** Median milliseconds of one request, rows a second in batches, and bytes of the engine, as the gate measured them. */
  latency?: number
  throughput?: number
  memory?: number
  madeBy: string
  createdAt: string
}

const measured = ['latency', 'throughput', 'memory'] as const

/**
 * Versions of a model side by side, newest first. A refined version carries what the gate measured of it, and of its
 * source, which so has figures of the same run.
 */
export function compareVersions(
  name: string,
  versions: readonly (Omit<Version, 'files'> & { bytes: number })[],
): Compared[] {
  const figures = new Map<number, Partial<Record<(typeof measured)[number], number>>>()
  for (const { version, manifest } of versions) {
    const { measurements = [], refinedFrom } = manifest.lineage
    for (const which of measured) {
      const line = measurements.find((one) => one.name === which)
      if (!line) continue
      figures.set(version, { ...figures.get(version), [which]: line.refined })
      if (refinedFrom?.model === name && figures.get(refinedFrom.version)?.[which] === undefined)
        figures.set(refinedFrom.version, { ...figures.get(refinedFrom.version), [which]: line.source })
    }
  }
  return versions.map(({ version, manifest, createdAt, bytes }) => ({
    version,
    family: manifest.family,
    metrics: manifest.metrics,
    parameters: manifest.parameters,
    bytes,
    ...figures.get(version),
    madeBy: madeBy(manifest),
    createdAt,
  }))
}

function madeBy({ lineage, family }: Manifest): string {
  const { passes, refinedFrom, run, parent } = lineage
  if (refinedFrom)
    return `${(passes ?? []).map(({ name }) => name).join(', ')} of ${refinedFrom.model}@${refinedFrom.version}`
  if (run === undefined) return `import (${family})`
  return parent === undefined ? `run ${run}` : `run ${run}, from ${parent}`
}
