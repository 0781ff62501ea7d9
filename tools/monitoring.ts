// Writes docs/monitoring from the table of metrics.     node tools/monitoring.ts
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { monitoringFiles } from '../src/watch/monitoring.ts'

const folder = join(import.meta.dirname, '..', 'docs', 'monitoring')
mkdirSync(folder, { recursive: true })
for (const [name, make] of Object.entries(monitoringFiles)) writeFileSync(join(folder, name), make())
